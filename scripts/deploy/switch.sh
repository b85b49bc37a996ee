#!/bin/sh
# Puts a version into service beside the one that serves now, and turns the gateway to it; no request fails.
set -eu
. "$(dirname "$0")/lib.sh"

usage='Usage: scripts/deploy/switch.sh <version>
       scripts/deploy/switch.sh --finish

The first brings the schema up (after a backup), then the workers, then a second set of APIs of that version (images
sutazai:<version> and sutazai-tools:<version>, which have to be there), and turns the gateway to it. The APIs of before go on
running, so that scripts/deploy/rollback.sh can go back at once. When the gateway does not answer well for CHECK_SECONDS (15)
after that, it goes back by itself. --finish stops the APIs of before, once they are not wanted any more.'

case ${1:-} in
  --help | -h)
    say "$usage"
    exit 0
    ;;
  --finish)
    now=$(live)
    put API_WEIGHTS "$(service "$now"):3000=100"
    compose run --rm --no-deps -T gateway-config
    compose exec -T kong kong reload
    compose stop "$(service "$(other "$now")")"
    say "$now serves alone: $(version_of "$now")"
    exit 0
    ;;
  '' | -*) fail "$usage" ;;
esac

version=$1
now=$(live)
next=$(other "$now")
before=$(version_of "$now")
say "$now serves $before; $next becomes $version"
put "$(version_name "$now")" "$before"
put "$(version_name "$next")" "$version"
put SUTAZAI_VERSION "$version"

if ! compose run --rm --no-deps -T migrate; then
  put SUTAZAI_VERSION "$before"
  fail "The schema was not brought up; nothing else was changed."
fi
if ! start_workers || ! compose up -d --no-deps --wait "$(service "$next")" || ! ready "$next"; then
  compose stop "$(service "$next")" || true
  put SUTAZAI_VERSION "$before"
  start_workers || true
  fail "$version does not come up; $before goes on serving. \`docker compose logs $(service "$next")\` says why."
fi
turn "$next" "$now"
if ! check; then
  say "The gateway does not answer well with $version: back to $before"
  sh "$(dirname "$0")/rollback.sh"
  exit 1
fi
say "$next serves $version. Back to $before: scripts/deploy/rollback.sh. Without $before: scripts/deploy/switch.sh --finish"

#!/bin/sh
# Puts a version into service beside the one that serves now, and turns the gateway to it; no request fails.
set -eu
. "$(dirname "$0")/lib.sh"

usage='Usage: scripts/deploy/switch.sh <version>
       scripts/deploy/switch.sh --finish

The first brings the schema up (after a backup), then the workers, then a second set of APIs of that version (images
sutazai:<version> and sutazai-tools:<version>, which have to be there), and turns the gateway to it. The APIs of before go on
running, so that scripts/deploy/rollback.sh can go back at once. When the gateway does not answer well for CHECK_SECONDS (15)
after that, it goes back by itself. --finish stops the APIs of before, once they are not wanted any more. From then on one
set serves, the blue one: where it was green, blue becomes of the same version first, and the gateway turns to it.'

case ${1:-} in
  --help | -h)
    say "$usage"
    exit 0
    ;;
  --finish)
    if [ "$(live)" = green ]; then
      version=$(version_of green)
      before=$(version_of blue)
      put API_BLUE_VERSION "$version"
      if ! compose up -d --no-deps --wait api || ! ready blue; then
        put API_BLUE_VERSION "$before"
        fail "blue does not come up with $version; green goes on serving it."
      fi
      turn blue green
      if ! check; then
        turn green blue
        put API_BLUE_VERSION "$before"
        fail "The gateway does not answer well with blue; green goes on serving $version."
      fi
      # Where rollback.sh goes.
      put API_GREEN_VERSION "$before"
    fi
    alone blue
    say "blue serves alone: $(version_of blue)"
    exit 0
    ;;
  '' | -*) fail "$usage" ;;
esac

version=$1
now=$(live)
next=$(other "$now")
before=$(version_of "$now")
# Where rollback.sh went until now, and goes again if this version does not stay.
older=$(get "$(version_name "$next")")
give_up() {
  put "$(version_name "$next")" "$older"
  put SUTAZAI_VERSION "$before"
}
say "$now serves $before; $next becomes $version"
put "$(version_name "$now")" "$before"
put "$(version_name "$next")" "$version"
put SUTAZAI_VERSION "$version"

if ! compose run --rm --no-deps -T migrate; then
  give_up
  fail "The schema was not brought up; nothing else was changed."
fi
if ! start_workers || ! compose up -d --no-deps --wait "$(service "$next")" || ! ready "$next"; then
  alone "$now" || true
  give_up
  start_workers || true
  fail "$version does not come up; $before goes on serving. \`docker compose logs $(service "$next")\` says why."
fi
turn "$next" "$now"
if ! check; then
  say "The gateway does not answer well with $version: back to $before"
  if sh "$(dirname "$0")/rollback.sh"; then
    alone "$now" || true
    give_up
  fi
  exit 1
fi
say "$next serves $version. Back to $before: scripts/deploy/rollback.sh. Without $before: scripts/deploy/switch.sh --finish"

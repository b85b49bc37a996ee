#!/bin/sh
# Turns the gateway back to the APIs of before, which are still running; no request fails. The workers follow.
set -eu
. "$(dirname "$0")/lib.sh"

usage='Usage: scripts/deploy/rollback.sh [--api-only]

Turns the gateway to the other set of APIs, starting it where it was stopped, then gives the workers its version; with
--api-only they stay. The schema stays as it is: every version works on that of the next one.'

case ${1:-} in
  --help | -h)
    say "$usage"
    exit 0
    ;;
  '' | --api-only) ;;
  *) fail "$usage" ;;
esac

now=$(live)
back=$(other "$now")
[ -n "$(get "$(version_name "$back")")" ] || fail "There is nothing to go back to: scripts/deploy/switch.sh was never run here."
compose up -d --no-deps --wait "$(service "$back")"
ready "$back" || fail "$(version_of "$back") is not ready either; $now goes on serving."
turn "$back" "$now"
say "$back serves $(version_of "$back") again"
if [ -z "${1:-}" ]; then
  put SUTAZAI_VERSION "$(version_of "$back")"
  start_workers
fi

# Read by switch.sh and rollback.sh: which of the two sets of APIs is live, and how the gateway is turned.
# What is live stands in .env beside docker-compose.yml, so that every `docker compose up` agrees with it.
root=$(cd "$(dirname "$0")/../.." && pwd)
env_file=$root/.env
: "${CHECK_SECONDS:=15}"

say() { printf '%s\n' "$*"; }
fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

get() { [ ! -f "$env_file" ] || sed -n "s/^$1=//p" "$env_file" | tail -n 1; }

# put NAME VALUE: a line of .env, or none where the value is empty; the others stay as they are.
put() {
  umask 077
  { [ ! -f "$env_file" ] || grep -v "^$1=" "$env_file" || true; [ -z "$2" ] || printf '%s=%s\n' "$1" "$2"; } > "$env_file.new"
  mv "$env_file.new" "$env_file"
}

compose() { docker compose --project-directory "$root" "$@"; }

COMPOSE_PROFILES=${COMPOSE_PROFILES:-$(get COMPOSE_PROFILES)}
export COMPOSE_PROFILES="${COMPOSE_PROFILES:-core}"

# with_green, without_green: whether the green set is a part of the whole, for every later command of Compose too.
with_green() {
  case ",$COMPOSE_PROFILES," in
    *,green,*) ;;
    *) COMPOSE_PROFILES=$COMPOSE_PROFILES,green ;;
  esac
  put COMPOSE_PROFILES "$COMPOSE_PROFILES"
}
without_green() {
  COMPOSE_PROFILES=$(echo ",$COMPOSE_PROFILES," | sed 's/,green,/,/; s/^,//; s/,$//')
  put COMPOSE_PROFILES "$COMPOSE_PROFILES"
}

live() {
  case $(get API_LIVE) in
    green) echo green ;;
    *) echo blue ;;
  esac
}
other() { [ "$1" = blue ] && echo green || echo blue; }
service() { [ "$1" = blue ] && echo api || echo api-green; }
version_name() { [ "$1" = blue ] && echo API_BLUE_VERSION || echo API_GREEN_VERSION; }
version_of() {
  found=$(get "$(version_name "$1")")
  [ -n "$found" ] || found=$(get SUTAZAI_VERSION)
  echo "${found:-0.1.0}"
}

# ready COLOUR: whether its APIs say that they can work, asked past the gateway.
ready() {
  compose exec -T "$(service "$1")" node -e \
    "fetch('http://127.0.0.1:3000/readyz').then((a) => process.exit(a.ok ? 0 : 1), () => process.exit(1))"
}

# The gateway learns what stands in API_WEIGHTS.
weigh() {
  put API_WEIGHTS "$1"
  compose run --rm --no-deps -T gateway-config
  compose exec -T kong kong reload
}

# turn TO FROM: requests go to TO from now on. What FROM is answering it goes on answering.
turn() {
  with_green
  put API_LIVE "$1"
  weigh "$(service "$1"):3000=100,$(service "$2"):3000=0"
}

# alone COLOUR: it serves, and the other set is stopped.
alone() {
  weigh "$(service "$1"):3000=100"
  compose stop "$(service "$(other "$1")")"
  [ "$1" = green ] || without_green
}

# Whether the gateway answers well, for as long as CHECK_SECONDS says.
check() {
  port=${GATEWAY_PORT:-$(get GATEWAY_PORT)}
  url=${GATEWAY_URL:-http://127.0.0.1:${port:-8080}}
  left=$CHECK_SECONDS
  while :; do
    curl --fail --silent --show-error --max-time 5 --output /dev/null "$url/readyz" || return 1
    [ "$left" -gt 0 ] || return 0
    left=$((left - 1))
    sleep 1
  done
}

start_workers() {
  # shellcheck disable=SC2046
  compose up -d --no-deps --wait $(compose config --services | grep '^worker')
}

#!/bin/sh
# Makes the secrets that docker-compose.yml hands to its services; those that are there already stay.
# sh scripts/generate_secrets.sh [--dir FOLDER] [--force]
set -eu
dir="$(dirname "$0")/../secrets"
force=no
while [ $# -gt 0 ]; do
  case "$1" in
  --dir) dir="${2:?--dir wants a folder}" && shift 2 ;;
  --force) force=yes && shift ;;
  --help | -h)
    echo "usage: sh scripts/generate_secrets.sh [--dir FOLDER] [--force]"
    echo "  --dir FOLDER  where to; secrets/ beside docker-compose.yml otherwise"
    echo "  --force       new ones in the place of those that are there: what only the old ones open is lost"
    exit 0
    ;;
  *) echo "$1 is no option; --help says what there is" >&2 && exit 1 ;;
  esac
done
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
# The folder keeps others out. The files are open, because the services read them under users of their own.
chmod 700 "$dir"
for name in jwt_secret_key jwt_secret_key_previous encryption_key encryption_key_previous postgres_password \
  redis_password qdrant_api_key admin_password grafana_admin_password; do
  if [ "$force" = no ] && [ -s "$dir/$name" ]; then continue; fi
  head -c 32 /dev/urandom | base64 | tr -d '\n' >"$dir/$name"
  chmod 644 "$dir/$name"
  echo "made $dir/$name"
done
# No secret that can be made up: alerts go nowhere until somebody writes the address of an incoming webhook into it.
if [ ! -s "$dir/alert_chat_url" ]; then
  printf %s http://127.0.0.1:9/nobody-was-named >"$dir/alert_chat_url"
  chmod 644 "$dir/alert_chat_url"
  echo "made $dir/alert_chat_url"
fi

#!/bin/sh
# Gives the database user a new password while everything runs, and no request fails. With DATABASE_URL_FILE or
# POSTGRES_PASSWORD_FILE set it works on that database and that file, otherwise on those of docker-compose.yml.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -n "${DATABASE_URL_FILE:-}${POSTGRES_PASSWORD_FILE:-}" ]; then
  exec node "$root/bin/sutazai.mjs" secrets rotate database "$@"
fi
# Services see the secret read-only; here the folder is mounted for writing, under the user whose files they are.
exec docker compose --project-directory "$root" run --rm --no-deps -T --user "$(id -u):$(id -g)" --volume "$root/secrets:/secrets" \
  --env POSTGRES_PASSWORD_FILE=/secrets/postgres_password api secrets rotate database "$@"

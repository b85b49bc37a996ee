#!/bin/sh
# Makes the secrets that docker-compose.yml hands to its services; those that are there already stay.
set -eu
cd "$(dirname "$0")/.."
mkdir -p secrets
# The folder keeps others out. The files are open, because the services read them under users of their own.
chmod 700 secrets
for name in jwt_secret_key jwt_secret_key_previous encryption_key postgres_password redis_password qdrant_api_key \
  admin_password; do
  if [ -s "secrets/$name" ]; then continue; fi
  head -c 32 /dev/urandom | base64 | tr -d '\n' >"secrets/$name"
  chmod 644 "secrets/$name"
  echo "made secrets/$name"
done

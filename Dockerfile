# syntax=docker/dockerfile:1

FROM node:24-slim AS deps
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev && npm cache clean --force
# Of the package that draws the reference one file is served; the other 45 MB are for builds.
RUN find node_modules/@scalar/api-reference -type f ! -path '*/browser/standalone.js' ! -path '*/dist/index.js' ! -name package.json -delete

FROM node:24-slim AS product
WORKDIR /app
# A container is reached from outside; everywhere else 127.0.0.1 is the default.
ENV NODE_ENV=production HOST=0.0.0.0 NODE_COMPILE_CACHE=/app/.cache/node
COPY --from=deps /app/node_modules ./node_modules
COPY package.json ./
COPY bin ./bin
COPY migrations ./migrations
COPY scripts/generate_secrets.sh ./scripts/generate_secrets.sh
# With these a container of this image writes the configuration of the gateway.
COPY scripts/render-kong.mjs ./scripts/render-kong.mjs
COPY kong.yml ./kong.yml
COPY src ./src
RUN install -d -o node -g node .cache
USER node
# What is compiled once, and has its types taken out, need not be so in each container: it starts sooner, with some 30 MB less.
RUN node --disable-warning=ExperimentalWarning src/main.ts --version \
  && node --disable-warning=ExperimentalWarning -e "import('./src/serve.ts').then(() => process.exit())"
EXPOSE 3000
# With HEALTH_PORT good for any process; without, for the API alone, whose own port answers then.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.HEALTH_PORT || process.env.PORT || 3000) + '/healthz').then((a) => process.exit(a.ok ? 0 : 1), () => process.exit(1))"]
# Node takes SIGTERM itself. Run it with `--init`, as docker-compose.yml does, so that process 1 is not Node.
ENTRYPOINT ["node", "--disable-warning=ExperimentalWarning", "src/main.ts"]
CMD ["api"]

# For backups, and for migrations before which one is made: `docker build --target tools .`. Debian's own pg_dump is older than
# the Postgres of docker-compose.yml, and an older one does not read a newer server.
FROM product AS tools
USER root
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates postgresql-common \
  && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
  && apt-get install -y --no-install-recommends postgresql-client-18 \
  && rm -rf /var/lib/apt/lists/* \
  && install -d -o node -g node -m 700 /backups
USER node

# Last, so that it is what is built where no target is named.
FROM product

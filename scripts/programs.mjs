import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const areThere = (programs) =>
  programs.every((program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0);

/** Installs the packages on Debian as root where something is missing; answers whether all is there in the end. */
function install(isThere, packages) {
  if (isThere()) return true;
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return false;
  console.error(`Installing ${packages.join(' and ')}, which the tests start …`);
  // Run level 1 keeps Debian from starting the service: the tests want the program alone.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', ...packages]])
    spawnSync('apt-get', ['-qq', ...args], { stdio: ['ignore', 2, 2], env });
  return isThere();
}

/** The tests start a Redis of their own, so the program has to be there: installs it where that is possible, else says what to do. */
export function ensureRedis() {
  if (install(() => areThere(['redis-server']), ['redis-server'])) return;
  console.error(
    'The tests need redis-server on the PATH. Install it and run the same command again: `sudo apt-get install redis-server`, `brew install redis`, or https://redis.io/docs/latest/operate/oss_and_stack/install/',
  );
  process.exit(1);
}

/** Installs Prometheus and Alertmanager where that is possible; without them the tests that start them are left out, and say so. */
export function ensurePrometheus() {
  install(
    () => areThere(['prometheus', 'promtool', 'prometheus-alertmanager', 'amtool']),
    ['prometheus', 'prometheus-alertmanager'],
  );
}

const DEBIAN = '/usr/lib/postgresql';
const POSTGRES = ['initdb', 'postgres', 'pg_ctl', 'pg_dump', 'pg_restore'];

/** The folder of a Postgres that has its server and its `pg_dump`, the newest that Debian has; what npm brings has no `pg_dump`. */
export function findPostgres() {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)) : [];
  return [
    ...versions.map((version) => join(DEBIAN, version, 'bin')),
    ...(process.env.PATH ?? '').split(delimiter),
  ].find((folder) => POSTGRES.every((name) => existsSync(join(folder, name))));
}

/** Installs a Postgres with its `pg_dump` where that is possible; without one the tests of backups are left out, and say so. */
export function ensurePostgres() {
  install(() => findPostgres() !== undefined, ['postgresql']);
}

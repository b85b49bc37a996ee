import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const areThere = (programs) =>
  programs.every((program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0);

/** Installs the packages on Debian as root where one of the programs is missing; answers whether all are there in the end. */
function install(programs, packages) {
  if (areThere(programs)) return true;
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return false;
  console.error(`Installing ${packages.join(' and ')}, which the tests start …`);
  // Run level 1 keeps Debian from starting the service: the tests want the program alone.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', ...packages]])
    spawnSync('apt-get', ['-qq', ...args], { stdio: ['ignore', 2, 2], env });
  return areThere(programs);
}

/** The tests start a Redis of their own, so the program has to be there: installs it where that is possible, else says what to do. */
export function ensureRedis() {
  if (install(['redis-server'], ['redis-server'])) return;
  console.error(
    'The tests need redis-server on the PATH. Install it and run the same command again: `sudo apt-get install redis-server`, `brew install redis`, or https://redis.io/docs/latest/operate/oss_and_stack/install/',
  );
  process.exit(1);
}

/** Installs Prometheus and Alertmanager where that is possible; without them the tests that start them are left out, and say so. */
export function ensurePrometheus() {
  install(['prometheus', 'promtool', 'prometheus-alertmanager', 'amtool'], ['prometheus', 'prometheus-alertmanager']);
}

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const succeeds = (command, args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;

/** The tests start a Redis of their own, so the program has to be there: installs it on Debian as root, else says what to do. */
export function ensureRedis() {
  if (succeeds('redis-server', ['--version'])) return;
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    console.error('Installing redis-server, which the tests start …');
    // Run level 1 keeps Debian from starting the service: the tests want the program alone.
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
    for (const args of [['update'], ['install', '-y', '--no-install-recommends', 'redis-server']])
      spawnSync('apt-get', ['-qq', ...args], { stdio: ['ignore', 2, 2], env });
    if (succeeds('redis-server', ['--version'])) return;
  }
  console.error(
    'The tests need redis-server on the PATH. Install it and run the same command again: `sudo apt-get install redis-server`, `brew install redis`, or https://redis.io/docs/latest/operate/oss_and_stack/install/',
  );
  process.exit(1);
}

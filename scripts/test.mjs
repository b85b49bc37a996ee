// `npm test`: all tests, or those whose file names contain the given words; options of vitest pass through.
import { spawnSync } from 'node:child_process';
import { ensureRedis } from './redis.mjs';

ensureRedis();
const words = process.argv.slice(2);

function vitest(args, env = {}) {
  const { status } = spawnSync('vitest', ['run', ...args], {
    stdio: 'inherit',
    env: { ...process.env, ...env },
    shell: process.platform === 'win32',
  });
  if (status !== 0) process.exit(status ?? 1);
}

vitest(words);
if (words.length === 0) {
  console.log('\nOnce more on Redis: the tests over HTTP that took BullMQ on Postgres, because they do not care');
  vitest(['tests/integration/api-', 'tests/integration/vector', 'tests/security/tokens'], {
    TEST_QUEUE_BACKEND: 'redis',
  });
}

// `npm test`: all tests, or those whose file names contain the given words.
import { spawnSync } from 'node:child_process';
import { ensureRedis } from './redis.mjs';

ensureRedis();
const { status } = spawnSync('vitest', ['run', ...process.argv.slice(2)], {
  stdio: 'inherit',
  shell: process.platform === 'win32',
});
process.exit(status ?? 1);

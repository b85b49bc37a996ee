// `npm run fuzz -- [--requests 2000] [--seed n]`: random requests for every route; the seed that is printed makes the same ones again.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { ensureRedis } from './programs.mjs';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '2000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
});
for (const [name, value] of Object.entries(values)) {
  if (/^\d{1,10}$/.test(value)) continue;
  console.error(`--${name} wants a whole number, not ${value}`);
  process.exit(1);
}

ensureRedis();
console.log(
  `${values.requests} requests a route; again: npm run fuzz -- --requests ${values.requests} --seed ${values.seed}`,
);
const { status } = spawnSync('vitest', ['run', 'tests/security/fuzz.test.ts'], {
  stdio: 'inherit',
  env: { ...process.env, FUZZ_REQUESTS: values.requests, FUZZ_SEED: values.seed },
  shell: process.platform === 'win32',
});
process.exit(status ?? 1);

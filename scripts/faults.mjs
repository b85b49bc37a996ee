// `npm run faults` and `npm run soak`: makes faults on purpose, on stores of their own.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ensureRedis } from './programs.mjs';

ensureRedis();
const [which, ...args] = process.argv.slice(2);
const script = fileURLToPath(new URL(`../tests/faults/${which}.ts`, import.meta.url));
const { status } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', script, ...args], {
  stdio: 'inherit',
});
process.exit(status ?? 1);

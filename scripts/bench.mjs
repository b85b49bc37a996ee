// `npm run bench -- <name>`: measures the product on stores of its own.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../tests/load/run.ts', import.meta.url));
const { status } = spawnSync(
  process.execPath,
  ['--disable-warning=ExperimentalWarning', script, ...process.argv.slice(2)],
  { stdio: 'inherit' },
);
process.exit(status ?? 1);

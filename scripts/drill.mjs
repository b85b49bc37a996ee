// `npm run drill -- --ended 200000 --waiting 20000`: loses a system on stores of its own and brings it back from a backup.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ensurePostgres, ensureRedis } from './programs.mjs';

const args = process.argv.slice(2);
if (!args.includes('--help')) {
  ensureRedis();
  ensurePostgres();
}
const script = fileURLToPath(new URL('../tests/drill/run.ts', import.meta.url));
const { status } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', script, ...args], {
  stdio: 'inherit',
});
process.exit(status ?? 1);

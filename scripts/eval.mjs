// `npm run eval`: how well what answers a question is found among the project's own pages and some made texts.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../tests/eval/run.ts', import.meta.url));
const { status } = spawnSync(
  process.execPath,
  ['--disable-warning=ExperimentalWarning', script, ...process.argv.slice(2)],
  { stdio: 'inherit' },
);
process.exit(status ?? 1);

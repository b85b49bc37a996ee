// `npm run bench -- <name>`: measures the product on stores of its own.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../tests/load/run.ts', import.meta.url));
const args = ['--disable-warning=ExperimentalWarning', script, ...process.argv.slice(2)];
const child = spawn(process.execPath, args, { stdio: 'inherit' });
// The terminal sends Ctrl-C to both.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.on('exit', (code) => process.exit(code ?? 1));

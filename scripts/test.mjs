// `npm test`: all tests, or those whose file names contain the given words; options of vitest pass through. With `--stage` the
// given folders are tested as they are in the run of all: what bounds a time alone, and what follows the integration tests too.
// With `--quick` what takes long is left out, for a machine that has a quarter of an hour.
import { spawn } from 'node:child_process';
import { ensurePostgres, ensurePrometheus, ensureRedis } from './programs.mjs';
import { ALONE, LONG, VECTORS, WITHOUT_QUEUE } from './test-lists.mjs';

ensureRedis();
ensurePostgres();
ensurePrometheus();
const words = process.argv.slice(2).filter((word) => word !== '--stage' && word !== '--quick');
const inParts = words.length === 0 || process.argv.includes('--stage');
const left = process.argv.includes('--quick') ? LONG : [];
const isChosen = (file) => !left.includes(file) && (words.length === 0 || words.some((word) => file.includes(word)));
const without = (files) => [...new Set([...files, ...left])].map((file) => `--exclude=${file}`);

/** Runs a command and answers its exit code. */
async function run(file, args, env = {}) {
  const child = spawn(file, args, {
    stdio: 'inherit',
    env: { ...process.env, ...env },
    shell: process.platform === 'win32',
  });
  return new Promise((resolve, reject) => child.once('error', reject).once('close', (status) => resolve(status ?? 1)));
}

/** Ends with a code that is not 0. */
function must(code) {
  if (code !== 0) process.exit(code);
}

const vitest = (args, env) => run('vitest', ['run', ...args], env);

if (inParts) {
  must(await vitest([...words, ...without(ALONE)]));
  const alone = ALONE.filter(isChosen);
  if (alone.length > 0) {
    console.log('\nThe tests that bound how long something takes, one file after the other.');
    must(await vitest([...alone, '--maxWorkers=1']));
  }
} else must(await vitest([...words, ...without([])]));

if (inParts && isChosen('tests/integration/')) {
  if (left.length === 0) await onRedis();
  console.log('\nThe quick faults.');
  must(await run(process.execPath, ['scripts/faults.mjs', 'run', '--quick', '--jobs', '2']));
}

async function onRedis() {
  console.log('\nOnce more on Redis: the tests over HTTP that took BullMQ on Postgres, because they do not care.');
  const others = WITHOUT_QUEUE.map((name) => `tests/integration/api-${name}.test.ts`);
  const vectors = VECTORS.map((name) => `tests/integration/vector-${name}.test.ts`);
  const redis = { TEST_QUEUE_BACKEND: 'redis' };
  const again = ['tests/integration/api-', ...vectors, 'tests/security/tokens'];
  must(await vitest([...again, ...without([...others, ...ALONE])], redis));
  const alone = ALONE.filter((file) => again.some((start) => file.startsWith(start)) && !others.includes(file));
  must(await vitest([...alone, '--maxWorkers=1'], redis));
}

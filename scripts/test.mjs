// `npm test`: all tests, or those whose file names contain the given words; options of vitest pass through.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureRedis } from './redis.mjs';

ensureRedis();
const words = process.argv.slice(2);

/** Runs a command and answers its exit code. What it prints comes at once, or `together` when it has ended. */
async function run(file, args, { env = {}, together = false } = {}) {
  const child = spawn(file, args, {
    stdio: ['inherit', together ? 'pipe' : 'inherit', together ? 'pipe' : 'inherit'],
    env: { ...process.env, ...env },
    shell: process.platform === 'win32',
  });
  const printed = [];
  for (const output of [child.stdout, child.stderr]) output?.on('data', (piece) => printed.push(piece));
  const status = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  if (together) process.stdout.write(Buffer.concat(printed));
  return status ?? 1;
}

/** Ends with the first code that is not 0. */
function must(...codes) {
  const bad = codes.find((code) => code !== 0);
  if (bad !== undefined) process.exit(bad);
}

const vitest = (args, env) => run('vitest', ['run', ...args], { env });

/** More files than this do not fail because a machine is busy. */
const MOST_AGAIN = 8;

/**
 * Runs tests side by side. The files of those that failed run once more, alone: a machine that is slow at the wrong moment makes
 * some of them run out of time. Whatever failed is printed with all it said, whether it fails again or not.
 */
async function together(args, env) {
  const folder = mkdtempSync(join(tmpdir(), 'sutazai-tests-'));
  const report = join(folder, 'report.json');
  const code = await vitest([...args, '--reporter=default', '--reporter=json', `--outputFile.json=${report}`], env);
  return {
    /** Answers the exit code. */
    async again() {
      const failed = code === 0 ? [] : failedIn(report);
      rmSync(folder, { recursive: true });
      if (failed.length === 0 || failed.length > MOST_AGAIN) return code;
      console.log(`\nOnce more, alone:\n${failed.join('\n')}`);
      const alone = await vitest([...failed, '--maxWorkers=1'], env);
      console.log(alone === 0 ? '\nAlone they passed.' : '\nThey fail alone too.');
      return alone;
    },
  };
}

/** The files with tests that failed, or that could not be read; none where there is no report. */
function failedIn(report) {
  try {
    const { testResults } = JSON.parse(readFileSync(report, 'utf8'));
    return testResults.filter(({ status }) => status === 'failed').map(({ name }) => name);
  } catch {
    return [];
  }
}

if (words.length > 0) must(await vitest(words));
else must(await (await together([])).again());
/** Tests over HTTP of what never comes near a queue (who is asked, the reference, what a terminal shows), or only with single tasks. */
const WITHOUT_QUEUE = [
  'bodies',
  'catalogue',
  'cli-care',
  'cli-login',
  'cli-tasks',
  'database-away',
  'docs',
  'encodings',
  'examples',
  'identity',
  'invitations',
  'openai-chat',
  'openai-errors',
  'openai-stream',
  'own-sessions',
  'problems',
  'reference',
  'sessions',
  'user-removal',
  'users',
];

/** The tests with vectors in which tasks go through a lane in numbers, fail, or are taken up again. */
const VECTORS = ['tasks', 'failures', 'documents', 'document-kills'];

if (words.length === 0) {
  console.log('\nOnce more on Redis: the tests over HTTP that took BullMQ on Postgres, because they do not care.');
  console.log(
    'At the same time, because they wait most of the time: the quick faults. What they print comes when they have ended.',
  );
  const others = WITHOUT_QUEUE.map((name) => `--exclude=tests/integration/api-${name}.test.ts`);
  const vectors = VECTORS.map((name) => `tests/integration/vector-${name}.test.ts`);
  const [tests, faults] = await Promise.all([
    together(['tests/integration/api-', ...vectors, 'tests/security/tokens', ...others], {
      TEST_QUEUE_BACKEND: 'redis',
    }),
    run(process.execPath, ['scripts/faults.mjs', 'run', '--quick', '--jobs', '2'], {
      together: true,
    }),
  ]);
  must(await tests.again(), faults);
}

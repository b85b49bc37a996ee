// `npm test`: all tests, or those whose file names contain the given words; options of vitest pass through. With `--stage` the
// given folders are tested as they are in the run of all: what bounds a time alone, and what follows the integration tests too.
import { spawn } from 'node:child_process';
import { ensurePostgres, ensurePrometheus, ensureRedis } from './programs.mjs';

ensureRedis();
ensurePostgres();
ensurePrometheus();
const words = process.argv.slice(2).filter((word) => word !== '--stage');
const inParts = words.length === 0 || process.argv.includes('--stage');
const isChosen = (file) => words.length === 0 || words.some((word) => file.includes(word));

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

/** Tests that bound how long something takes: one file after the other with nothing beside, or they measure the others. */
const ALONE = [
  'tests/integration/agent-health.test.ts',
  'tests/integration/agent-prober.test.ts',
  'tests/integration/agent-probes.test.ts',
  'tests/integration/api-concurrency.test.ts',
  'tests/integration/api-database-away.test.ts',
  'tests/integration/api-events-access.test.ts',
  'tests/integration/api-events-limits.test.ts',
  'tests/integration/api-events-resume.test.ts',
  'tests/integration/api-schedule-ticks.test.ts',
  'tests/integration/api-waiters.test.ts',
  'tests/integration/database-outage.test.ts',
  'tests/integration/database-silence.test.ts',
  'tests/integration/key-worker-loss.test.ts',
  'tests/integration/lane.test.ts',
  'tests/integration/live-texts.test.ts',
  'tests/integration/migrations.test.ts',
  'tests/integration/notifications.test.ts',
  'tests/integration/outages.test.ts',
  'tests/integration/pool-exhaustion.test.ts',
  'tests/integration/queue-outage.test.ts',
  'tests/integration/queue-silence.test.ts',
  'tests/integration/read-only.test.ts',
  'tests/integration/retention-load.test.ts',
  'tests/integration/running-limit.test.ts',
  'tests/integration/stopping.test.ts',
  'tests/integration/vector-document-kills.test.ts',
  'tests/integration/webhook-endpoints.test.ts',
  'tests/integration/webhooks.test.ts',
  'tests/integration/worker-affinity.test.ts',
  'tests/integration/worker-loss.test.ts',
  'tests/integration/worker-outcomes.test.ts',
  'tests/integration/workflow-size.test.ts',
  'tests/security/database-rotation.test.ts',
  'tests/security/egress-calls.test.ts',
  'tests/security/slow-clients.test.ts',
  'tests/security/validators.test.ts',
  'tests/unit/answering.test.ts',
  'tests/unit/client-address.test.ts',
  'tests/unit/schedule-clock.test.ts',
  'tests/unit/validate.test.ts',
  'tests/unit/weak-passwords.test.ts',
];

if (inParts) {
  must(await vitest([...words, ...ALONE.map((file) => `--exclude=${file}`)]));
  const alone = ALONE.filter(isChosen);
  if (alone.length > 0) {
    console.log('\nThe tests that bound how long something takes, one file after the other.');
    must(await vitest([...alone, '--maxWorkers=1']));
  }
} else must(await vitest(words));
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

if (inParts && isChosen('tests/integration/')) {
  console.log('\nOnce more on Redis: the tests over HTTP that took BullMQ on Postgres, because they do not care.');
  const others = WITHOUT_QUEUE.map((name) => `tests/integration/api-${name}.test.ts`);
  const vectors = VECTORS.map((name) => `tests/integration/vector-${name}.test.ts`);
  const redis = { TEST_QUEUE_BACKEND: 'redis' };
  const again = ['tests/integration/api-', ...vectors, 'tests/security/tokens'];
  must(await vitest([...again, ...[...others, ...ALONE].map((file) => `--exclude=${file}`)], redis));
  const alone = ALONE.filter((file) => again.some((start) => file.startsWith(start)) && !others.includes(file));
  must(await vitest([...alone, '--maxWorkers=1'], redis));
  console.log('\nThe quick faults.');
  must(await run(process.execPath, ['scripts/faults.mjs', 'run', '--quick', '--jobs', '2']));
}

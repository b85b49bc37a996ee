import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPool } from '../../src/db/connect.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { claimTasks } from '../../src/db/tasks/run.ts';
import { createLog } from '../../src/log.ts';
import { openQueueBackend, type QueueBackend } from '../../src/queues/backend.ts';
import { createDispatcher } from '../../src/queues/dispatcher.ts';
import { createReconciler, type Reconciler } from '../../src/queues/reconciler.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { newTask, storeUser } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const LEASE_MS = 2_000;
const EVERY_MS = 50;
const log = createLog('silent');

let database: TestDatabase;
let relay: Relay;
let backend: QueueBackend;
let reconciler: Reconciler;
let closePool: () => Promise<void>;
beforeAll(async () => {
  database = await createTestDatabase();
  relay = await startRelay(database.url);
  backend = await openQueueBackend({
    kind: 'postgres',
    redisUrl: undefined,
    databaseUrl: database.url,
    prefix: '',
    workers: 0,
    log,
  });
  const pool = createPool({ url: relay.url, max: 1, name: 'test:reconciler', log });
  closePool = () => pool.end();
  const dispatcher = createDispatcher(backend, { completed: 0, failed: 0, agingMs: 0 }, log);
  reconciler = createReconciler({
    db: database.db,
    pool,
    backend,
    dispatcher,
    log,
    leaseMs: LEASE_MS,
    agingMs: 600_000,
    everyMs: EVERY_MS,
  });
});
afterAll(async () => {
  await reconciler.close();
  await closePool();
  await backend.close();
  await relay.close();
  await database.close();
});

/** A task whose worker has said nothing since its lease ran out. */
async function silentTask(): Promise<string> {
  const [task] = await acceptTasks(database.db, [newTask(await storeUser(database.db))]);
  const id = task?.id ?? '';
  await claimTasks(database.db, 'somebody', 60_000, [{ id, generation: 0 }]);
  await sql`update tasks set lease_until = now() - interval '1 second' where id = ${id}`.execute(database.db);
  return id;
}

const statusOf = async (id: string) =>
  (await database.db.selectFrom('tasks').select('status').where('id', '=', id).executeTakeFirstOrThrow()).status;

it('takes a task from a silent worker at once, but after an outage of the database only when workers had time to speak', async () => {
  const before = await silentTask();
  const started = Date.now();
  await until('the task is taken back', async () => (await statusOf(before)) === 'pending');
  expect(Date.now() - started).toBeLessThan(LEASE_MS);

  relay.cut();
  const during = await silentTask();
  const mended = await new Promise<number>((resolve) =>
    setTimeout(() => {
      relay.mend();
      resolve(Date.now());
    }, EVERY_MS * 30),
  );
  await until('the task is taken back', async () => (await statusOf(during)) === 'pending');
  expect(Date.now() - mended).toBeGreaterThanOrEqual(LEASE_MS - EVERY_MS);
});

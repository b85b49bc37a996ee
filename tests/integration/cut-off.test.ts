import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDb, createPool } from '../../src/db/connect.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { createLog } from '../../src/log.ts';
import { type Attempt, AttemptStopped, createRunningAttempts } from '../../src/workers/attempt.ts';
import { createClaims } from '../../src/workers/claims.ts';
import { createHeartbeat, type Heartbeat } from '../../src/workers/heartbeat.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { newTask, storeUser } from '../support/tasks.ts';
import { until } from '../support/until.ts';
import { createWorld, type World } from '../support/world.ts';

const LEASE_MS = 2_000;
const lasting = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('an attempt whose lease cannot be renewed', () => {
  let database: TestDatabase;
  let relay: Relay;
  let attempt: Attempt;
  let heartbeat: Heartbeat;
  let close: () => Promise<void>;
  beforeEach(async () => {
    database = await createTestDatabase();
    relay = await startRelay(database.url);
    const log = createLog('silent');
    const pool = createPool({ url: relay.url, max: 2, name: 'test', log });
    const db = createDb(pool);
    const [task] = await acceptTasks(database.db, [newTask(await storeUser(database.db))]);
    const claims = createClaims({
      db,
      name: 'w',
      leaseMs: LEASE_MS,
      everybody: 0,
      agingMs: 0,
      onCalled: () => {},
      onHeld: () => {},
      onError: () => {},
      log,
    });
    const claimed = await claims.claim({ id: task?.id ?? '', generation: 0 });
    const running = createRunningAttempts();
    if (!claimed || !('task' in claimed)) throw new Error('the task was not claimed');
    attempt = running.start(claimed);
    heartbeat = createHeartbeat({
      db,
      leaseMs: LEASE_MS,
      lockMs: 60_000,
      running,
      runners: new Map(),
      gate: { judge() {}, shut() {} },
      log,
    });
    close = async () => {
      running.end(attempt);
      relay.cut();
      await heartbeat.close();
      await db.destroy();
    };
  });
  afterEach(async () => {
    await close();
    await relay.close();
    await database.close();
  });

  it('goes on while the database refuses, because then nobody takes its task either', async () => {
    relay.cut();
    await lasting(LEASE_MS * 2.5);
    expect(attempt.signal.aborted).toBe(false);
  });

  it('goes on while renewals arrive late, as long as they arrive within the lease', async () => {
    relay.set({ delayMs: 150 });
    await lasting(LEASE_MS * 2);
    expect(attempt.signal.aborted).toBe(false);
  });

  it('is stopped when the database says nothing until the lease is over', async () => {
    // So that the lease begins here, however long it took to get here.
    await heartbeat.beat();
    relay.set('blackhole');
    const since = performance.now();
    await until('it is stopped', () => attempt.signal.aborted, { withinMs: LEASE_MS * 2 });
    expect(attempt.signal.reason).toEqual(new AttemptStopped('cut_off'));
    expect(performance.now() - since).toBeGreaterThan(LEASE_MS * 0.5);
  });
});

describe('a worker that is cut off from the database', () => {
  let world: World;
  let relay: Relay;
  afterEach(async () => {
    relay.cut();
    await world.close();
    await relay.close();
  });

  it('ends its call of the model, and what it says of it later neither counts as a loss nor changes anything', async () => {
    world = await createWorld({
      backend: 'redis',
      env: { LEASE_SECONDS: String(LEASE_MS / 1000), WORKER_LANES: 'webhook' },
    });
    relay = await startRelay(world.databaseUrl);
    const client = await world.client();
    await world.join('worker', { DATABASE_URL: relay.url, WORKER_LANES: 'llm' });
    world.ollama.script = () => true;
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', { messages: [{ role: 'user', content: 'hello' }] });
    const { closedEarly } = await called;
    relay.set('blackhole');
    expect(await closedEarly).toBe(true);

    world.ollama.script = undefined;
    await world.join('worker', { WORKER_LANES: 'llm' });
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', attempt: 2 });
    relay.mend();
    expect((await listAttempts(world.db, id)).map(({ outcome }) => outcome)).toEqual(['lost', 'completed']);
  });

  it('gives its tasks back by itself where nobody has taken them', async () => {
    world = await createWorld({
      backend: 'redis',
      env: { LEASE_SECONDS: String(LEASE_MS / 1000), WORKER_LANES: 'webhook' },
    });
    relay = await startRelay(world.databaseUrl);
    const client = await world.client();
    const worker = await world.join('worker', { DATABASE_URL: relay.url, WORKER_LANES: 'llm' });
    world.ollama.script = () => true;
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', { messages: [{ role: 'user', content: 'hello' }] });
    const { closedEarly } = await called;
    // Nobody looks for lost workers meanwhile, as where Postgres was frozen for all.
    await Promise.all([world.running.reconciler.close(), worker.reconciler.close()]);
    relay.set('blackhole');
    expect(await closedEarly).toBe(true);
    world.ollama.script = undefined;
    relay.mend();
    const row = () => world.db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    await until('it is done after all', async () => (await row()).status === 'completed');
    expect(await row()).toMatchObject({ attempt: 2, losses: 0, failures: 0 });
  });
});

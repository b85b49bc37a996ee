import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/connect.ts';
import { cancelTask } from '../../src/db/tasks/steer.ts';
import type { Running } from '../../src/deps.ts';
import { createLog } from '../../src/log.ts';
import { openQueueBackend, type QueueBackend } from '../../src/queues/backend.ts';
import { createDispatcher, type Dispatcher } from '../../src/queues/dispatcher.ts';
import { jobId } from '../../src/queues/job-id.ts';
import { createReconciler, type Reconciler } from '../../src/queues/reconciler.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const log = createLog('silent');

describe.each(BACKENDS)('the reconciler on %s', (kind) => {
  let world: World;
  let client: Client;
  let backend: QueueBackend;
  let dispatcher: Dispatcher;
  beforeAll(async () => {
    world = await createWorld({ backend: kind, env: { WORKER_LANES: 'webhook' } });
    client = await world.client();
    // Rounds come when a test asks for them: another one in between would do its repairs.
    await world.running.reconciler.close();
    const { REDIS_URL: redisUrl, QUEUE_PREFIX: prefix = '' } = world.env;
    backend = await openQueueBackend({ kind, redisUrl, databaseUrl: world.databaseUrl, prefix, workers: 0, log });
    dispatcher = createDispatcher(backend, { completed: 100, failed: 100, agingMs: 600_000 }, log);
  });
  afterAll(async () => {
    await backend.close();
    await world.close();
  });

  const row = (id: string) => world.db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  /** A second reconciler of which only the rounds are used that the test asks for. */
  async function withReconciler(use: (reconciler: Reconciler) => Promise<void>, quietMs = 0): Promise<void> {
    const pool = createPool({ url: world.databaseUrl, max: 1, name: 'test:reconciler', log });
    const reconciler = createReconciler({
      db: world.db,
      pool,
      backend,
      dispatcher,
      log,
      leaseMs: 20_000,
      agingMs: 600_000,
      everyMs: 3_600_000,
      quietMs,
    });
    await use(reconciler).finally(async () => {
      await reconciler.close();
      await pool.end();
    });
  }

  /** A worker that repairs nothing. */
  async function joinWorker(): Promise<Running> {
    const worker = await world.join('worker', { WORKER_LANES: 'system' });
    await worker.reconciler.close();
    return worker;
  }

  it('is another process where the one that leads does not reach the queue store', async () => {
    const pool = createPool({ url: world.databaseUrl, max: 2, name: 'test:reconciler', log });
    const options = {
      ...{ db: world.db, pool, dispatcher, log, leaseMs: 20_000, agingMs: 600_000 },
      everyMs: 50,
      awayMs: 500,
    };
    let up = true;
    const cutOff = { ...backend, isUp: () => up };
    const first = createReconciler({ ...options, backend: cutOff });
    await until('one leads', () => first.repairs().rounds > 0);
    const second = createReconciler({ ...options, backend });
    try {
      const rounds = first.repairs().rounds;
      await until('it goes on', () => first.repairs().rounds > rounds + 2);
      expect(second.repairs().rounds).toBe(0);
      up = false;
      await until('the other one leads', () => second.repairs().rounds > 0);
    } finally {
      await Promise.all([first.close(), second.close()]);
      await pool.end();
    }
  });

  it('adds a job that is missing, once, and leaves those alone that are there', async () => {
    const lost = await client.submit('echo', { message: 'x' });
    const fine = await client.submit('echo', { message: 'y' });
    expect(await dispatcher.findMissing([await row(lost.id), await row(fine.id)])).toEqual([]);
    await dispatcher.remove(await row(lost.id));
    await withReconciler(async (reconciler) => {
      expect((await reconciler.runOnce()).rebuilt).toBe(1);
      expect((await reconciler.runOnce()).rebuilt).toBe(1);
    });
    expect(await dispatcher.findMissing([await row(lost.id)])).toEqual([]);
    expect(await row(lost.id)).toMatchObject({ generation: 0, status: 'pending' });
  });

  it('is not held up by a row of a lane that only newer processes know', async () => {
    const [newer, lost] = [
      await client.submit('echo', { message: 'x' }),
      await client.submit('echo', { message: 'y' }),
    ];
    for (const { id } of [newer, lost]) await dispatcher.remove(await row(id));
    await sql`update tasks set lane = 'tomorrow' where id = ${newer.id}`.execute(world.db);
    expect(await dispatcher.enqueue([{ ...(await row(newer.id)), kind: 'task' }])).toBe(false);
    await withReconciler(async (reconciler) => {
      expect((await reconciler.runOnce()).rebuilt).toBe(1);
    });
    expect(await dispatcher.findMissing([await row(lost.id)])).toEqual([]);
    for (const { id } of [newer, lost]) await cancelTask(world.db, 'any', id, 'user');
  });

  it('does not look at a row whose job may be just on the way', async () => {
    const { id } = await client.submit('echo', { message: 'x' });
    await dispatcher.remove(await row(id));
    await withReconciler(async (reconciler) => {
      expect((await reconciler.runOnce()).rebuilt).toBe(0);
    }, 60_000);
    await cancelTask(world.db, 'any', id, 'user');
  });

  it('raises the generation of a waiting task whose job has ended, and it then runs once', async () => {
    const ran = await client.submit('echo', { message: 'x' });
    const worker = await joinWorker();
    await client.waitForEnd(ran.id);
    await until('the job has ended too', async () => {
      const [missing] = await dispatcher.findMissing([await row(ran.id)]);
      return missing?.finished;
    });
    await worker.close();
    // As if its worker had died between writing a retry and telling BullMQ.
    await sql`update tasks set status = 'pending', completed_at = null, output = null where id = ${ran.id}`.execute(
      world.db,
    );
    await withReconciler(async (reconciler) => {
      expect((await reconciler.runOnce()).rebuilt).toBeGreaterThan(0);
    });
    expect((await row(ran.id)).generation).toBe(1);
    const other = await joinWorker();
    expect(await client.waitForEnd(ran.id)).toMatchObject({ status: 'completed', attempt: 2 });
    await other.close();
  });

  it('jobs of two generations of a task give one run', async () => {
    const { id } = await client.submit('echo', { message: 'twice' });
    await world.db.updateTable('tasks').set({ generation: 1 }).where('id', '=', id).execute();
    const wake = { ...(await row(id)), kind: 'task' as const };
    expect(await dispatcher.enqueue([wake])).toBe(true);
    const worker = await joinWorker();
    await client.waitForEnd(id);
    const states = () => {
      const queue = backend.queue('system');
      return Promise.all([0, 1].map((generation) => queue.getJobState(jobId({ id, generation }))));
    };
    // Where a reconciler is just looking through the jobs, it takes the older one away.
    const done = [expect.stringMatching(/^(completed|unknown)$/), 'completed'];
    await expect.poll(states, { timeout: 60_000 }).toEqual(done);
    await worker.close();
    expect(await row(id)).toMatchObject({ attempt: 1, status: 'completed', output: { message: 'twice' } });
  });

  it('gives a task whose worker is gone a job at once', async () => {
    const { id } = await client.submit('echo', { message: 'x' });
    await sql`update tasks set status = 'running', attempt = 1, lease_until = now() - interval '1 s' where id = ${id}`.execute(
      world.db,
    );
    await withReconciler(async (reconciler) => void (await reconciler.runOnce()));
    // Whichever of the reconcilers was first.
    expect(await row(id)).toMatchObject({ status: 'pending', generation: 1, losses: 1 });
    await until('the new job is there', async () => (await dispatcher.findMissing([await row(id)])).length === 0);
  });

  it('is led by one process, and by another when the leader loses its connection', async () => {
    const leaders = async () => {
      const { rows } = await sql<{ pid: number }>`select pid from pg_locks where locktype = 'advisory' and granted
        and objid = ${0x73757472}::bigint::oid and database = (select oid from pg_database where datname = current_database())`.execute(
        world.db,
      );
      return rows.map(({ pid }) => pid);
    };
    for (let n = 0; n < 2; n++) await world.join('worker', { WORKER_LANES: 'agent' });
    const [first] = await until('somebody leads', async () => {
      const pids = await leaders();
      return pids.length > 0 && pids;
    });
    await sql`select pg_terminate_backend(${first}::int)`.execute(world.db);
    const next = await until('another one leads', async () => {
      const pids = await leaders();
      return pids.length > 0 && pids[0] !== first && pids;
    });
    expect(next).toHaveLength(1);
  });
});

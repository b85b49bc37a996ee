import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { createLog } from '../../src/log.ts';
import { createReconciler, type Reconciler } from '../../src/queues/reconciler.ts';
import { compareRowsAndJobs } from '../support/agreement.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Lanes, openLanes } from '../support/lanes.ts';
import { type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { newTask, storeUser } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const AGREED = { lacking: [], orphaned: [] };

describe('a lane in Redis', () => {
  let database: TestDatabase;
  let server: PrivateRedis;
  let redis: Redis;
  let lanes: Lanes;
  let reconciler: Reconciler | undefined;
  let userId: string;
  beforeEach(async () => {
    [database, server] = await Promise.all([createTestDatabase(), startPrivateRedis()]);
    redis = new Redis(server.url, { retryStrategy: () => 20 });
    redis.on('error', () => {});
    lanes = await openLanes('redis', database, { redisUrl: server.url });
    userId = await storeUser(database.db);
  });
  afterEach(async () => {
    await server.signal('SIGCONT');
    await reconciler?.close();
    reconciler = undefined;
    await lanes.close();
    redis.disconnect();
    await Promise.all([database.close(), server.close()]);
  });

  const accept = async (count: number) =>
    (
      await acceptTasks(
        database.db,
        Array.from({ length: count }, () => newTask(userId)),
      )
    ).map(({ id }) => id);
  const key = (name: string) => lanes.backend.queue('system').toKey(name);

  /** One that goes round by itself, without a pause. */
  function goRound(): Reconciler {
    const log = createLog('silent');
    const { backend, dispatcher } = lanes;
    const options = { db: database.db, pool: database.pool, backend, dispatcher, log };
    reconciler = createReconciler({ ...options, leaseMs: 20_000, agingMs: 600_000, quietMs: 0, everyMs: 20 });
    return reconciler;
  }

  it('gets back the job of an id that stands in it alone', async () => {
    const [id] = await accept(2);
    await lanes.reconciler.runOnce();
    await redis.del(key(`${id}_g0`));
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual({ lacking: [`${id}_g0`], orphaned: [] });
    expect((await lanes.reconciler.runOnce()).rebuilt).toBe(3);
    const jobs = await lanes.backend.queue('system').getJobs(['prioritized']);
    expect(jobs).toHaveLength(2);
    expect(jobs.find((job) => job.id === `${id}_g0`)?.data).toMatchObject({ id, generation: 0 });
  });

  it('gets a new job for one that stands in no list any more, and keeps nothing of the old one', async () => {
    const [id] = await accept(1);
    await lanes.reconciler.runOnce();
    await redis.zrem(key('prioritized'), `${id}_g0`);
    expect((await lanes.reconciler.runOnce()).rebuilt).toBe(2);
    expect(await redis.zrange(key('prioritized'), '0', '-1')).toEqual([`${id}_g1`]);
    expect(await redis.keys(key('*_g*'))).toEqual([key(`${id}_g1`)]);
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual(AGREED);
  });

  it('that is emptied while it is filled again has every job at the end', async () => {
    await accept(5_000);
    const { repairs } = goRound();
    await until('a part is back', () => repairs().rebuilt >= 500, { everyMs: 1 });
    await server.command('FLUSHALL');
    await until('it is seen', () => repairs().epochsLost === 1);
    await until('it is full', async () => (await redis.zcard(key('prioritized'))) === 5_000);
    expect(repairs().rebuilt).toBeGreaterThan(5_000);
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual(AGREED);
  });

  it('that hangs while it is filled goes on where it was, and no row is passed over', async () => {
    await accept(3_000);
    const { repairs } = goRound();
    await until('a part is back', () => repairs().rebuilt >= 500, { everyMs: 1 });
    await server.signal('SIGSTOP');
    const { rounds } = repairs();
    await until('its rounds fail', () => repairs().rounds > rounds, { withinMs: 20_000 });
    await server.signal('SIGCONT');
    await until('it is full', async () => (await redis.zcard(key('prioritized'))) === 3_000, { withinMs: 20_000 });
    expect(repairs().rebuilt).toBeLessThanOrEqual(3_000);
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual(AGREED);
  });

  it('loses what an older copy of it brings back', async () => {
    const ended = await accept(1_500);
    const [waiting] = await accept(1);
    await lanes.reconciler.runOnce();
    await database.db
      .updateTable('tasks')
      .set({ status: 'completed', completed_at: new Date() })
      .where('id', 'in', ended)
      .execute();
    expect((await compareRowsAndJobs(database.db, lanes.backend)).orphaned).toHaveLength(1_500);
    expect((await lanes.reconciler.runOnce()).orphans).toBe(1_500);
    expect(await redis.zrange(key('prioritized'), '0', '-1')).toEqual([`${waiting}_g0`]);
    expect(await redis.keys(key('*_g*'))).toEqual([key(`${waiting}_g0`)]);
  });
});

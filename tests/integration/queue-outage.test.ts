import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import { createLog } from '../../src/log.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { createDispatcher } from '../../src/queues/dispatcher.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const NO_WORK = { WORKER_LANES: 'webhook' };
const WORK = { WORKER_LANES: 'system' };

describe('Redis', () => {
  let redis: PrivateRedis;
  let world: World | undefined;
  let client: Client;
  beforeEach(async () => {
    redis = await startPrivateRedis();
  });
  afterEach(async () => {
    await redis.signal('SIGCONT');
    await world?.close();
    world = undefined;
    await redis.close();
  });

  async function start(env: Record<string, string> = {}): Promise<World> {
    world = await createWorld({ backend: 'redis', env: { ...NO_WORK, REDIS_URL: redis.url, ...env } });
    client = await world.client();
    return world;
  }
  const submitMany = async (count: number): Promise<PresentedTask[]> => {
    const tasks = Array.from({ length: count }, (_, n) => ({ type: 'echo', input: { message: `${n}` } }));
    const answer = await client.request<{ tasks: PresentedTask[] }>('POST', '/api/v1/tasks/batch', { tasks });
    expect(answer.status).toBe(202);
    return answer.body.tasks;
  };
  const allEnded = (count: number, withinMs = 20_000) =>
    until(
      'all tasks have ended',
      async () => {
        const rows = await world!.db.selectFrom('tasks').select(['status', 'attempt']).execute();
        expect(rows).toHaveLength(count);
        return rows.every(({ status }) => status === 'completed') && rows;
      },
      { withinMs, everyMs: 100 },
    );

  it('that is away costs no task: answers stay quick, and the jobs are added when it is back, empty', async () => {
    const { join } = await start();
    await redis.signal('SIGKILL');
    const asked = Date.now();
    await client.submit('echo', { message: 'x' });
    await submitMany(20);
    expect(Date.now() - asked).toBeLessThan(1_000);
    await redis.start();
    await join('worker', WORK);
    await allEnded(21);
  });

  it('that was emptied is filled again with every waiting task', async () => {
    // So that all of them have a job.
    const { running, join, db, env } = await start({ QUEUE_JOBS_MAX: '0' });
    await submitMany(700);
    await sql`update tasks set ready_at = now() - interval '1 hour'`.execute(db);
    // The rows were looked at already, so that only the loss of the marker makes it look again.
    await until('it leads', () => redis.command('EXISTS', `${env.QUEUE_PREFIX}:epoch`));
    await running.reconciler.runOnce();
    await redis.command('FLUSHALL');
    await until('all jobs are back', () => running.reconciler.repairs().rebuilt >= 700, { withinMs: 15_000 });
    expect(running.reconciler.repairs()).toMatchObject({
      rescued: 0,
      expired: 0,
      rebuilt: 700,
      orphans: 0,
      epochsLost: 1,
    });
    await join('worker', WORK);
    await allEnded(700);
    const ledger = await db.selectFrom('attempts').select('task_id').execute();
    expect(ledger).toHaveLength(700);
  });

  it('that is away does not keep a process from closing', async () => {
    const { running, join } = await start();
    const worker = await join('worker', { ...WORK, SHUTDOWN_GRACE_SECONDS: '1' });
    await client.runTask('echo', { message: 'x' });
    await redis.signal('SIGKILL');
    const asked = Date.now();
    await worker.close();
    await running.reconciler.close();
    expect(Date.now() - asked).toBeLessThan(8_000);
    // What is closed does not come back when Redis does.
    await world?.close();
    world = undefined;
    await redis.start();
    const names = String(await redis.command('CLIENT', 'LIST')).match(/ name=\S+ /g);
    expect(names ?? []).toEqual([]);
  });

  it('that hangs keeps a process from closing for some seconds at most', async () => {
    const { join } = await start();
    const worker = await join('worker', { ...WORK, SHUTDOWN_GRACE_SECONDS: '1' });
    await client.runTask('echo', { message: 'x' });
    await redis.signal('SIGSTOP');
    const asked = Date.now();
    await worker.close();
    expect(Date.now() - asked).toBeLessThan(12_000);
  });

  it('that went away while a dispatcher was open makes it answer false at once, and it recovers', async () => {
    const log = createLog('silent');
    const options = { kind: 'redis', redisUrl: redis.url, databaseUrl: '', prefix: 'outage', workers: 0, log } as const;
    const backend = await openQueueBackend(options);
    const dispatcher = createDispatcher(backend, { completed: 0, failed: 0, agingMs: 600_000 }, log);
    const wake = () => ({
      kind: 'task' as const,
      id: newId(),
      type: 'echo',
      lane: 'system' as const,
      priority: 5,
      generation: 0,
      ready_at: new Date(),
      queued_at: null,
      request_id: null,
    });
    expect(await dispatcher.enqueue([wake()])).toBe(true);
    await redis.signal('SIGKILL');
    const asked = Date.now();
    expect(await dispatcher.enqueue([wake(), wake()])).toBe(false);
    expect(Date.now() - asked).toBeLessThan(500);
    await redis.start();
    await until('it is back', () => dispatcher.enqueue([wake()]), { withinMs: 5_000 });
    await redis.signal('SIGSTOP');
    const frozen = Date.now();
    expect(await dispatcher.enqueue([wake()])).toBe(false);
    await expect(dispatcher.counts()).rejects.toThrow();
    expect(Date.now() - frozen).toBeLessThan(5_000);
    await redis.signal('SIGCONT');
    await backend.close();
  });
});

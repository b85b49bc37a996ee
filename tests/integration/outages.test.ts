import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { sendJson, startFakeOllama } from '../support/fake-ollama.ts';
import { freePort, type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { BACKENDS, createWorld, type World } from '../support/world.ts';

const chat = { messages: [{ role: 'user', content: 'hello' }] };
const LEASE_MS = 2_000;

describe('a long attempt', () => {
  let redis: PrivateRedis;
  let world: World;
  beforeEach(async () => {
    redis = await startPrivateRedis();
    world = await createWorld({
      backend: 'redis',
      env: { REDIS_URL: redis.url, LEASE_SECONDS: String(LEASE_MS / 1000) },
    });
  });
  afterEach(async () => {
    await redis.signal('SIGCONT');
    await world.close();
    await redis.close();
  });

  it.each(['SIGKILL', 'SIGSTOP'] as const)('keeps its lease while Redis is away by %s', async (signal) => {
    const client = await world.client();
    let answer = () => {};
    world.ollama.script = () =>
      new Promise((resolve) => {
        answer = () => resolve(false);
      });
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', chat);
    await called;
    const row = () => world.db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    await redis.signal(signal);
    const leaseThen = (await row()).lease_until as Date;
    // Three leases later it could only still be running here because it was renewed all along.
    await until(
      'the lease was renewed three times over',
      async () => {
        const { lease_until, attempt } = await row();
        expect(attempt).toBe(1);
        return (lease_until as Date).getTime() > leaseThen.getTime() + 3 * LEASE_MS;
      },
      { withinMs: 15_000, everyMs: 100 },
    );
    answer();
    await until('it is completed', async () => (await row()).status === 'completed');
    expect(await row()).toMatchObject({ attempt: 1, losses: 0, generation: 0 });
    if (signal === 'SIGKILL') await redis.start();
  });
});

describe('tasks whose model host is away', () => {
  let world: World;
  afterEach(() => world.close());

  it('wait without using up their attempts, say why, and go on when it is back', async () => {
    world = await createWorld({ env: { WORKER_LANES: 'webhook' } });
    const client = await world.client();
    const port = await freePort();
    const worker = await world.join('worker', { WORKER_LANES: 'llm', OLLAMA_HOST: `127.0.0.1:${port}` });
    expect(worker.url).toBeUndefined();
    const ids = await Promise.all(
      Array.from({ length: 5 }, async () => (await client.submit('chat', chat, { max_attempts: 1 })).id),
    );
    await until('each was tried', async () => {
      const rows = await world.db.selectFrom('tasks').select(['attempt', 'status', 'failures', 'error']).execute();
      return rows.every(({ attempt, status }) => attempt > 0 && status === 'pending') && rows;
    });
    const rows = await world.db.selectFrom('tasks').select(['failures', 'error']).execute();
    for (const row of rows)
      expect(row).toMatchObject({ failures: 0, error: { code: 'upstream_unavailable', retryable: true } });

    const ollama = await startFakeOllama(port);
    const ended = await Promise.all(ids.map((id) => client.waitForEnd(id)));
    await ollama.close();
    expect(ended.map(({ status }) => status)).toEqual(ids.map(() => 'completed'));
    const [first] = ended;
    expect((await listAttempts(world.db, first?.id ?? '')).map(({ outcome }) => outcome)).toContain('released');
  });

  it('do not fail for good either when it is full', async () => {
    world = await createWorld();
    const client = await world.client();
    let busy = 2;
    world.ollama.script = (_call, response) => {
      if (busy-- <= 0) return false;
      sendJson(response, 503, { error: 'server busy, please try again.  maximum pending requests exceeded' });
      return true;
    };
    const task = await client.runTask('chat', chat, { max_attempts: 1 });
    expect(task).toMatchObject({ status: 'completed', attempt: 3 });
  });
});

describe('a backlog whose model host is full for a while', () => {
  it.each(BACKENDS)('on %s makes few calls, loses no attempts, and goes on soon after', async (backend) => {
    const world = await createWorld({ backend, env: { WORKER_CONCURRENCY: '4' } });
    const client = await world.client();
    const [models] = await rowsOf(world);
    expect(models).toMatchObject({ name: 'models', status: 'up', breaker: 'closed' });
    world.ollama.everything = (_, response) => {
      sendJson(response, 503, { error: 'server busy, please try again.  maximum pending requests exceeded' });
      return true;
    };
    const asked = world.ollama.asked.length;
    const inputs = Array.from({ length: 60 }, (_, n) => ({ type: 'embed', input: { input: `text ${n}` } }));
    const began = Date.now();
    const submitted = await Promise.all(
      inputs.map(({ type, input }) => client.submit(type, input, { max_attempts: 1 })),
    );
    const released = () =>
      world.db.selectFrom('attempts').select('task_id').where('outcome', '=', 'released').execute();
    await until('many were turned away', async () => (await released()).length >= 60, { withinMs: 20_000 });
    // Four slots, each of which rests for 200 ms after a task that was turned away.
    expect(Date.now() - began).toBeGreaterThan(2_500);
    expect(world.ollama.asked.length - asked).toBeLessThan(25);
    expect(['open', 'half_open']).toContain((await rowsOf(world))[0]?.breaker);

    world.ollama.everything = undefined;
    const back = Date.now();
    const ended = await Promise.all(submitted.map(({ id }) => client.waitForEnd(id)));
    expect(Date.now() - back).toBeLessThan(20_000);
    expect(ended.every(({ status }) => status === 'completed')).toBe(true);
    const rows = await world.db.selectFrom('tasks').select(['failures', 'losses']).execute();
    expect(rows.every(({ failures, losses }) => failures === 0 && losses === 0)).toBe(true);
    await world.close();
  });

  /** The row of the models in `/readyz`. */
  async function rowsOf(world: World) {
    const { body } = await world.anonymous.request<{ dependencies: Array<Record<string, unknown>> }>('GET', '/readyz');
    return body.dependencies.filter(({ name }) => name === 'models');
  }
});

it('readiness tells of a database that takes no writes', async () => {
  const world = await createWorld();
  const { pathname } = new URL(world.databaseUrl);
  const ready = async () => (await world.anonymous.request('GET', '/readyz')).status;
  const readOnly = async (on: boolean) => {
    await sql.raw(`alter database ${pathname.slice(1)} set default_transaction_read_only = ${on}`).execute(world.db);
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`.execute(
      world.db,
    );
  };
  expect(await ready()).toBe(200);
  await readOnly(true);
  await expect.poll(ready, { timeout: 10_000 }).toBe(503);
  await sql`set default_transaction_read_only = off`.execute(world.db);
  await readOnly(false);
  await expect.poll(ready, { timeout: 10_000 }).toBe(200);
  await world.close();
});

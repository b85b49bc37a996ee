import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { STATUSES } from '../../src/db/schema.ts';
import { createLog } from '../../src/log.ts';
import { openQueueBackend, type QueueBackend } from '../../src/queues/backend.ts';
import { LANES } from '../../src/tasks/lanes.ts';
import { expectProblem } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Backend, type Client, createWorld, type World } from '../support/world.ts';

interface Queue {
  name: string;
  paused: boolean;
  paused_at: string | null;
  paused_by: string | null;
  counts: Record<string, number>;
  demand: number;
  oldest_waiting_seconds: number;
}
const QUEUES = '/api/v1/monitoring/queues';
const openStore = ({ env, databaseUrl }: World) =>
  openQueueBackend({
    kind: env.QUEUE_BACKEND as Backend,
    redisUrl: env.REDIS_URL,
    databaseUrl,
    prefix: env.QUEUE_PREFIX ?? '',
    workers: 0,
    log: createLog('silent'),
  });
const noCounts = Object.fromEntries(STATUSES.map((status) => [status, 0]));

describe.each(BACKENDS)('monitoring on %s', (backend) => {
  let world: World;
  let operator: Client;
  let client: Client;
  let store: QueueBackend;
  beforeAll(async () => {
    world = await createWorld({ backend });
    store = await openStore(world);
    operator = await world.client('operator');
    client = await world.client();
  });
  afterAll(async () => {
    await store.close();
    await world.close();
  });

  const queues = async () => (await operator.request<{ data: Queue[] }>('GET', QUEUES)).body.data;
  const queue = async (name: string) => (await queues()).find((one) => one.name === name);
  const turn = (name: string, verb: 'pause' | 'resume', by = operator) =>
    by.request<Queue>('POST', `${QUEUES}/${name}/${verb}`);
  const statusOf = async (id: string) => (await client.request('GET', `/api/v1/tasks/${id}`)).body.status;

  it('shows every queue with every status, also where there is nothing', async () => {
    const all = await queues();
    expect(all.map(({ name }) => name)).toEqual([...LANES]);
    expect(all.find(({ name }) => name === 'agent')).toEqual({
      name: 'agent',
      paused: false,
      paused_at: null,
      paused_by: null,
      counts: noCounts,
      parked: 0,
      demand: 0,
      oldest_waiting_seconds: 0,
      throughput: { started_per_minute: 0, completed_per_minute: 0, failed_per_minute: 0, mean_run_ms: 0 },
    });
  });

  it('counts the tasks of everybody by status, and tells how long the oldest has waited', async () => {
    const before = (await queue('system'))?.counts ?? {};
    await turn('system', 'pause');
    const old = await client.submit('echo', { message: 'x' });
    const other = await world.client();
    await other.submit('echo', { message: 'x' });
    await other.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const { id } = await other.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await other.request('POST', `/api/v1/tasks/${id}/cancel`);
    await world.db
      .updateTable('tasks')
      .set({ ready_at: new Date(Date.now() - 90_000) })
      .where('id', '=', old.id)
      .execute();
    const { counts, oldest_waiting_seconds } = (await queue('system')) as Queue;
    const more = { pending: 2, scheduled: 1, cancelled: 1 };
    expect(counts).toEqual({
      ...before,
      ...Object.fromEntries(Object.entries(more).map(([status, count]) => [status, (before[status] ?? 0) + count])),
    });
    expect(oldest_waiting_seconds).toBeGreaterThan(89);
    expect(oldest_waiting_seconds).toBeLessThan(120);
    await turn('system', 'resume');
    await client.waitForEnd(old.id);
    await until('both are counted as completed', async () => {
      const now = (await queue('system'))?.counts;
      return now?.pending === 0 && now.completed === (before.completed ?? 0) + 2;
    });
  });

  it('says how many tasks want a worker: those that run, and those that wait for nothing else', async () => {
    world.ollama.script = () => new Promise(() => {});
    const called = world.ollama.nextCall('/api/chat');
    const chat = { messages: [{ role: 'user', content: 'x' }] };
    const keyed = { concurrency_key: { key: 'one at a time', limit: 1 } };
    const ids = [(await client.submit('chat', chat, keyed)).id];
    await called;
    for (const more of [keyed, keyed, {}]) ids.push((await client.submit('chat', chat, more)).id);
    await until('two are held back', async () => (await queue('llm'))?.demand === 2);
    expect(await queue('llm')).toMatchObject({ counts: { scheduled: 0, pending: expect.any(Number) } });
    for (const id of ids.reverse()) await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    await until('nobody wants a worker', async () => (await queue('llm'))?.demand === 0);
    world.ollama.script = undefined;
  });

  it('counts deliveries of webhooks in their own queue', async () => {
    await turn('webhook', 'pause');
    await client.runTask('echo', { message: 'x' }, { webhook: { url: 'http://127.0.0.1:1/hook' } });
    expect((await queue('webhook'))?.counts).toEqual({ ...noCounts, pending: 1 });
    await turn('webhook', 'resume');
    await until('it was tried', async () => (await queue('webhook'))?.counts.scheduled === 1);
  });

  it('a paused queue accepts and starts nothing, until it is resumed; the others go on', async () => {
    const paused = await turn('system', 'pause');
    expect(paused).toMatchObject({ status: 200, body: { name: 'system', paused: true, paused_by: operator.username } });
    const { id } = await client.submit('echo', { message: 'x' });
    const vector = await client.runTask('vector.upsert', { collection: 'raw', points: [{ id: 1, vector: [1, 0, 0] }] });
    expect([vector.status, await statusOf(id)]).toEqual(['completed', 'pending']);
    expect(await queue('system')).toMatchObject({ paused: true, counts: { pending: 1 }, demand: 0 });
    expect((await turn('system', 'pause')).body.paused_at).toBe(paused.body.paused_at);
    expect((await turn('system', 'resume')).body).toEqual({
      name: 'system',
      paused: false,
      paused_at: null,
      paused_by: null,
    });
    expect((await client.waitForEnd(id)).status).toBe('completed');
  });

  it('a queue stays paused when the queue store forgets that it was, and goes on when the store says it is paused', async () => {
    await turn('system', 'pause');
    const lane = () => store.queue('system');
    expect(await lane().isPaused()).toBe(true);
    await lane().resume();
    await world.running.reconciler.runOnce();
    expect(await lane().isPaused()).toBe(true);
    await turn('system', 'resume');
    await lane().pause();
    await world.running.reconciler.runOnce();
    expect(await lane().isPaused()).toBe(false);
  });

  it('tells the audit log who paused and who resumed, once each', async () => {
    for (const verb of ['pause', 'pause', 'resume', 'resume'] as const) await turn('embed', verb);
    const told = await world.db
      .selectFrom('audit_log')
      .selectAll()
      .where('object_id', '=', 'embed')
      .orderBy('id')
      .execute();
    expect(told.map(({ action, actor_id }) => [action, actor_id])).toEqual([
      ['queue.pause', operator.userId],
      ['queue.resume', operator.userId],
    ]);
  });

  it('shows who runs what since when', async () => {
    world.ollama.script = () => new Promise(() => {});
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', { messages: [{ role: 'user', content: 'a secret' }] });
    await called;
    const { body } = await operator.request<{ data: Array<{ name: string; running: Array<{ id: string }> }> }>(
      'GET',
      '/api/v1/monitoring/workers',
    );
    const mine = body.data.flatMap(({ running }) => running).find((task) => task.id === id);
    expect(mine).toEqual({
      id,
      type: 'chat',
      lane: 'llm',
      attempt: 1,
      user_id: client.userId,
      status: 'running',
      started_at: expect.any(String),
      lease_until: expect.any(String),
    });
    expect(JSON.stringify(body)).not.toContain('a secret');
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    world.ollama.script = undefined;
  });

  it('shows how the process is, without addresses, secrets or settings', async () => {
    const { status, body } = await operator.request('GET', '/api/v1/monitoring/system');
    expect([status, body.queue_backend, body.node]).toEqual([200, backend, process.version]);
    const said = JSON.stringify(body);
    for (const secret of [world.databaseUrl, world.ollama.url, world.env.JWT_SECRET_KEY, '127.0.0.1', '://'])
      expect(said).not.toContain(secret);
  });

  it.each(['viewer', 'user'] as const)('S22: is not there for the role %s', async (role) => {
    const other = await world.client(role);
    for (const path of [QUEUES, '/api/v1/monitoring/workers', '/api/v1/monitoring/system'])
      expectProblem(await other.request('GET', path), 'forbidden');
    for (const verb of ['pause', 'resume'] as const) expectProblem(await turn('system', verb, other), 'forbidden');
    expect((await queue('system'))?.paused).toBe(false);
  });

  it.each(['nothing', 'SYSTEM', 'toString', '%00'])('knows no queue named %s', async (name) => {
    for (const verb of ['pause', 'resume'] as const) expectProblem(await turn(name, verb), 'not_found');
  });
});

it('a queue that is paused while Redis is emptied stays paused, and its tasks run when it is resumed', async () => {
  const world = await createWorld({ backend: 'redis' });
  const store = await openStore(world);
  const operator = await world.client('operator');
  const client = await world.client();
  await operator.request('POST', `${QUEUES}/system/pause`);
  const { id } = await client.submit('echo', { message: 'x' });
  const redis = new Redis(inject('redisUrl'));
  const keys = await redis.keys(`${world.env.QUEUE_PREFIX}:*`);
  expect(keys.length).toBeGreaterThan(0);
  await redis.del(keys);
  redis.disconnect();
  await until('it is paused again', () => store.queue('system').isPaused());
  expect((await client.request('GET', `/api/v1/tasks/${id}`)).body.status).toBe('pending');
  await operator.request('POST', `${QUEUES}/system/resume`);
  expect((await client.waitForEnd(id)).status).toBe('completed');
  await store.close();
  await world.close();
});

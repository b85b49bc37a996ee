import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { addAgent } from '../support/add-agent.ts';
import { addCollection } from '../support/add-collection.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

describe('a retry with another input', () => {
  let world: World;
  let client: Client;
  let sink: Sink;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
    sink = await startSink();
  });
  afterAll(async () => {
    await world.close();
    await sink.close();
  });
  afterEach(() => {
    world.ollama.script = undefined;
  });

  const retry = (id: string, body: unknown, by = client, headers: Record<string, string> = {}) =>
    by.request<PresentedTask>('POST', `/api/v1/tasks/${id}/retry`, body, headers);
  const countTasks = async () =>
    Number((await sql<{ n: string }>`select count(*) as n from tasks`.execute(world.db)).rows[0]?.n);

  it('makes a new task of the old one, which names it, and leaves the old one as it was', async () => {
    const more = {
      ...{ title: 'first', priority: 3, metadata: { order: 7 }, tags: ['a', 'b'] },
      ...{ timeout_seconds: 12.5, max_attempts: 2 },
    };
    const origin = await client.runTask('echo', { message: 'old' }, more);
    expect(origin).toMatchObject({ origin_id: null, payload_deleted_at: null });
    const { status, body, headers } = await retry(origin.id, { input: { message: 'new' } });
    expect([status, headers.get('location')]).toEqual([202, `${world.url}/api/v1/tasks/${body.id}`]);
    expect(body.id).not.toBe(origin.id);
    const { timeout_seconds, ...shown } = more;
    expect(body).toMatchObject({
      ...shown,
      origin_id: origin.id,
      input: { message: 'new' },
      status: 'pending',
      attempt: 0,
    });
    const ended = await client.waitForEnd(body.id);
    expect(ended).toMatchObject({ ...shown, origin_id: origin.id, output: { message: 'new' }, attempt: 1 });
    const row = await world.db.selectFrom('tasks').select('timeout_ms').where('id', '=', body.id).executeTakeFirst();
    expect(row?.timeout_ms).toBe(timeout_seconds * 1000);
    expect((await client.request('GET', `/api/v1/tasks/${origin.id}`)).body).toEqual(origin);
  });

  it('waits for the end where it is asked to, as does a retry with the same input', async () => {
    const wait = { prefer: 'wait=30' };
    const origin = await client.runTask('echo', { message: 'old' });
    const another = await retry(origin.id, { input: { message: 'new' } }, client, wait);
    expect(another).toMatchObject({ status: 200, body: { status: 'completed', output: { message: 'new' } } });
    expect(another.headers.get('preference-applied')).toBe('wait=30');
    const again = await retry(origin.id, {}, client, wait);
    expect(again).toMatchObject({ status: 200, body: { id: origin.id, status: 'completed', attempt: 2 } });
    expect([again.headers.get('preference-applied'), again.headers.get('retry-after')]).toEqual(['wait=30', null]);
  });

  it('waits for the end with a key too', async () => {
    const origin = await client.runTask('echo', { message: 'old' });
    const answer = await retry(origin.id, {}, client, { prefer: 'wait=30', 'idempotency-key': 'again' });
    expect([answer.status, answer.headers.get('preference-applied')]).toEqual([200, 'wait=30']);
    expect(answer.body).toMatchObject({ status: 'completed', attempt: 2 });
  });

  it('tells the webhook of the old task, with its secret, and shows none', async () => {
    const secret = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
    const webhook = { url: sink.url, secret, events: ['task.completed'] };
    const { id } = await client.runTask('echo', { message: 'old' }, { webhook });
    const { body } = await retry(id, { input: { message: 'new' } });
    expect(JSON.stringify(body)).not.toContain('secret');
    await client.waitForEnd(body.id);
    const message = await until('the message of the new task', () =>
      sink.received.find((one) => one.body.includes(body.id)),
    );
    const { Webhook } = await import('standardwebhooks');
    expect(new Webhook(secret).verify(message.body, message.headers as Record<string, string>)).toMatchObject({
      data: { id: body.id, origin_id: id, output: { message: 'new' } },
    });
  });

  it('is checked like a submission: the input, the addresses in it, and that there is one', async () => {
    const { id } = await client.runTask('echo', { message: 'old' });
    const before = await countTasks();
    for (const [input, pointer] of [
      [{ message: 7 }, '#/input/message'],
      [{ message: 'x', more: 1 }, '#/input/more'],
      [null, '#/input'],
    ] as const)
      expect(pointersOf(expectProblem(await retry(id, { input }), 'validation_failed'))).toEqual([pointer]);
    expect(pointersOf(expectProblem(await retry(id, { output: 1 }), 'validation_failed'))).toEqual(['#/output']);
    const call = await client.runTask('http.request', { method: 'GET', url: sink.url });
    const inside = { method: 'GET', url: 'http://169.254.169.254/latest' };
    expect(pointersOf(expectProblem(await retry(call.id, { input: inside }), 'validation_failed'))).toEqual([
      '#/input/url',
    ]);
    expect(await countTasks()).toBe(before + 1);
  });

  it('is checked like a submission: that its agent is there, and that its vectors fit their collection', async () => {
    const agent = await addAgent(world, { name: 'helper', endpoint: sink.url });
    const { id } = await client.runTask('echo', { message: 'old' }, { agent_id: agent });
    expect((await retry(id, { input: { message: 'new' } })).body).toMatchObject({ agent_id: agent });
    await addCollection(world, { name: 'raw', userId: client.userId, dimensions: 3 });
    const search = { collection: 'raw', vector: [1, 2, 3] };
    const later = await client.submit('vector.search', search, { delay_seconds: 600 });
    await client.request('POST', `/api/v1/tasks/${later.id}/cancel`);
    await world.db.updateTable('agents').set({ is_active: false }).where('id', '=', agent).execute();
    const before = await countTasks();
    for (const [of, input, pointer] of [
      [id, { message: 'new' }, '#/agent_id'],
      [later.id, { ...search, vector: [1] }, '#/input/vector'],
    ] as const)
      expect(pointersOf(expectProblem(await retry(of, { input }), 'validation_failed'))).toEqual([pointer]);
    expect(await countTasks()).toBe(before);
  });

  it('asks for no agent that an agent.run was given: the next one gets its own', async () => {
    const agent = await addAgent(world, { name: 'counter', capabilities: ['count'], endpoint: sink.url });
    const ask = { capability: 'count', input: { n: 1 } };
    const { id } = await client.submit('agent.run', ask, { delay_seconds: 600 });
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    await world.db.updateTable('tasks').set({ agent_id: agent }).where('id', '=', id).execute();
    await world.db.updateTable('agents').set({ is_active: false }).where('id', '=', agent).execute();
    const { status, body } = await retry(id, { input: ask });
    expect([status, body.agent_id]).toEqual([202, null]);
    await client.request('POST', `/api/v1/tasks/${body.id}/cancel`);
  });

  it('happens once with an Idempotency-Key, and another input under the key is refused', async () => {
    const { id } = await client.runTask('echo', { message: 'old' });
    const key = { 'idempotency-key': `replay-${id}` };
    const first = await retry(id, { input: { message: 'new' } }, client, key);
    const before = await countTasks();
    const again = await retry(id, { input: { message: 'new' } }, client, key);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect([again.status, again.body]).toEqual([202, first.body]);
    expectProblem(await retry(id, { input: { message: 'newer' } }, client, key), 'idempotency_key_reused');
    expectProblem(await retry(id, {}, client, key), 'idempotency_key_reused');
    expect(await countTasks()).toBe(before);
  });

  it('waits until the task has ended', async () => {
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    expectProblem(await retry(id, { input: { message: 'new' } }), 'task_running');
  });

  it('counts for the limit of waiting tasks', async () => {
    const other = await world.client();
    const { id } = await other.runTask('echo', { message: 'old' });
    await other.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await world.db
      .insertInto('user_limits')
      .values({ user_id: other.userId, ...NO_ROOM })
      .execute();
    const refused = await until('the limit', async () => {
      const answer = await retry(id, { input: { message: 'new' } }, other);
      return answer.status === 429 && answer;
    });
    expectProblem(refused, 'quota-exceeded');
  });

  it('is for the user of the task alone, and wants the permission to submit', async () => {
    const { id } = await client.runTask('echo', { message: 'old' });
    for (const role of ['operator', 'admin'] as const)
      expectProblem(await retry(id, { input: { message: 'x' } }, await world.client(role)), 'forbidden');
    expectProblem(await retry(id, { input: { message: 'x' } }, await world.client()), 'not_found');
    const keyFor = async (made: object) => {
      const { body } = await client.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'k', ...made });
      return anonymousClient(world.url, body.key);
    };
    const before = await countTasks();
    const steering = await keyFor({ scopes: ['tasks:read', 'tasks:steer'] });
    expectProblem(await retry(id, { input: { message: 'x' } }, steering), 'forbidden');
    const chatting = await keyFor({ task_types: ['chat'] });
    expectProblem(await retry(id, { input: { message: 'x' } }, chatting), 'forbidden');
    expect(await countTasks()).toBe(before);
  });
});

const NO_ROOM = { waiting_tasks: 1, running_tasks: null, tokens_per_day: null, requests_per_minute: null };

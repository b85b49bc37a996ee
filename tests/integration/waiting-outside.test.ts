import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCallbacks } from '../../src/callbacks.ts';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { defineTask } from '../../src/tasks/define.ts';
import { echo } from '../../src/tasks/echo.ts';
import { type OwnWorker, startOwnWorker } from '../support/own-worker.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, callbacksOf, createWorld, type World } from '../support/world.ts';

/** Who was told an address, and with which idempotency key, by task. */
const told = new Map<string, Array<{ key: string; url: string }>>();

/**
 * Tells somebody an address once, and goes on with what is sent there within so many seconds. With `still` its first attempt
 * stands still right after it has told, as one whose worker was killed.
 */
const waits = defineTask({
  ...{ ...echo, name: 'test.waits', lane: 'agent' as const },
  run: async ({ message }, tools) => {
    await tools.memo('tell', async (key) => {
      const all = told.get(tools.taskId) ?? [];
      told.set(tools.taskId, [...all, { key, url: tools.callbackUrl('answer') }]);
      if (message.endsWith('still') && tools.attempt === 1) await new Promise(() => {});
    });
    const answer = await tools.awaitCallback('answer', { withinSeconds: Number.parseFloat(message) });
    return { message: JSON.stringify(answer) };
  },
});
/** Parks after something was sent to it that its attempt does not know of. */
const unaware = defineTask({
  ...{ ...echo, name: 'test.unaware', lane: 'agent' as const },
  run: async ({ message }, tools) => {
    if (tools.attempt > 1) return { message: `${message} ${tools.signals}` };
    const sent = Promise.withResolvers<void>();
    told.set(tools.taskId, [{ key: '', url: tools.callbackUrl('answer') }]);
    unawares.set(tools.taskId, sent.resolve);
    await sent.promise;
    return tools.park('callback');
  },
});
const unawares = new Map<string, () => void>();
const quick = defineTask({ ...echo, name: 'test.quick', lane: 'agent' as const });

describe.each(BACKENDS)('a task that waits for something outside, on %s', (backend) => {
  let world: World;
  let client: Client;
  let worker: OwnWorker;
  beforeAll(async () => {
    world = await createWorld({ backend, mode: 'api' });
    client = await world.client();
    worker = await startOwnWorker(world, [waits, unaware, quick]);
  });
  afterAll(async () => {
    await worker.close();
    await world.close();
  });

  const submit = (message = '60') => worker.submit(client.userId, 'test.waits', { input: { message } });
  const row = (id: string) => world.db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  const parked = (id: string) => until('parked', async () => (await row(id)).awaiting === 'callback');
  const post = (url: string, body?: unknown) => world.anonymous.request('POST', url.slice(world.url.length), body);
  const urlOf = (id: string) => told.get(id)?.at(-1)?.url as string;
  const outcomes = async (id: string) => (await listAttempts(world.db, id)).map(({ outcome }) => outcome);

  it('holds no slot meanwhile, goes on with what is sent to its address, and takes that once', async () => {
    const id = await submit();
    await parked(id);
    // The worker has one slot.
    const other = await worker.submit(client.userId, 'test.quick');
    expect(await client.waitForEnd(other)).toMatchObject({ status: 'completed' });
    expect((await client.request('GET', `/api/v1/tasks/${id}`)).body).toMatchObject({ status: 'running', attempt: 1 });
    const { body: why } = await client.request('GET', `/api/v1/tasks/${id}/explain`);
    expect(why).toMatchObject({ reason: 'awaiting_callback', detail: expect.stringContaining('calls back') });
    const operator = await world.client('operator');
    const { body: queues } = await operator.request<{ data: object[] }>('GET', '/api/v1/monitoring/queues');
    expect(queues.data).toContainEqual(expect.objectContaining({ name: 'agent', parked: 1, demand: 0 }));
    const { body: workers } = await operator.request('GET', '/api/v1/monitoring/workers');
    expect(JSON.stringify(workers)).not.toContain(id);

    // So that it does not end between the two.
    await operator.request('POST', '/api/v1/monitoring/queues/agent/pause');
    expect(await post(urlOf(id), { answer: 42 })).toMatchObject({ status: 202, body: { accepted: true } });
    expect(await post(urlOf(id), { answer: 43 })).toMatchObject({ status: 409, body: { code: 'callback_used' } });
    await operator.request('POST', '/api/v1/monitoring/queues/agent/resume');
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', output: { message: '{"answer":42}' } });
    expect(await post(urlOf(id))).toMatchObject({ status: 410, body: { code: 'callback_over' } });
    expect(await outcomes(id)).toEqual(['parked', 'completed']);
    expect(told.get(id)).toHaveLength(1);
    const { body } = await client.request<{ data: Array<Record<string, unknown>> }>(
      'GET',
      `/api/v1/tasks/${id}/timeline`,
    );
    expect(body.data.map(({ type, status, name, kind, reason }) => [type, status, name ?? reason, kind])).toEqual([
      ['accepted', 'pending', undefined, undefined],
      ['queued', 'pending', undefined, undefined],
      ['started', 'running', undefined, undefined],
      ['step', null, 'tell', 'step'],
      ['step', null, 'until:answer', 'wait'],
      ['attempt_ended', 'running', undefined, undefined],
      ['step', null, 'callback:answer', 'signal'],
      ['resumed', 'pending', 'signal', undefined],
      ['started', 'running', undefined, undefined],
      ['attempt_ended', 'completed', undefined, undefined],
      ['ended', 'completed', null, undefined],
    ]);
  });

  it('does not miss what was sent before it parks, and is told again with the same key where a worker was lost', async () => {
    await worker.close();
    worker = await startOwnWorker(world, [waits, unaware, quick], { concurrency: 2 });
    const id = await submit('60 still');
    await until('an address', () => told.has(id));
    expect(await post(urlOf(id), ['early'])).toMatchObject({ status: 202 });
    await sql`update tasks set lease_until = now() - interval '1 second' where id = ${id}`.execute(world.db);
    await world.running.reconciler.runOnce();
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', output: { message: '["early"]' } });
    expect(await outcomes(id)).toEqual(['lost', 'completed']);
    const [first, second] = told.get(id)!;
    expect(second).toEqual(first);
  });

  it('goes on at once where something was sent while its attempt was about to park', async () => {
    const id = await worker.submit(client.userId, 'test.unaware');
    await until('an address', () => unawares.has(id));
    expect(await post(urlOf(id))).toMatchObject({ status: 202 });
    const { rebuilt } = world.running.reconciler.repairs();
    unawares.get(id)?.();
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', output: { message: 'hi 1' } });
    // Nobody had to find out that it had no job.
    expect(world.running.reconciler.repairs().rebuilt).toBe(rebuilt);
    expect(await outcomes(id)).toEqual(['parked', 'completed']);
  });

  it('fails where nothing comes in time, and is run again from its beginning with new addresses', async () => {
    const id = await submit('0.3');
    await until('parked', async () => (await outcomes(id)).includes('parked'));
    const first = told.get(id)![0]!;
    await until('the end', async () => {
      await world.running.reconciler.runOnce();
      return (await row(id)).status === 'failed';
    });
    expect(await row(id)).toMatchObject({ error: { code: 'callback_timeout', retryable: false } });
    expect(await outcomes(id)).toEqual(['parked', 'failed']);
    // This time it waits long enough to be called.
    await world.db.updateTable('tasks').set({ input: '{"message":"60"}' }).where('id', '=', id).execute();
    expect((await client.request('POST', `/api/v1/tasks/${id}/retry`)).status).toBe(202);
    await parked(id);
    const second = told.get(id)![1]!;
    expect(second.key).not.toBe(first.key);
    expect(second.url).not.toBe(first.url);
    expect(await post(first.url)).toMatchObject({ status: 410 });
    expect(await post(second.url)).toMatchObject({ status: 202 });
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', output: { message: '{}' } });
  });

  it('is cancelled at once, and nothing that comes later changes that', async () => {
    const id = await submit();
    await parked(id);
    const cancelled = await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    expect(cancelled).toMatchObject({ status: 200, body: { status: 'cancelled' } });
    expect(await post(urlOf(id))).toMatchObject({ status: 410, body: { code: 'callback_over' } });
  });

  it('gives no address away that others could have made', async () => {
    const taskId = await submit();
    await parked(taskId);
    const token = urlOf(taskId).split('/').at(-1) as string;
    const [payload = '', mac = ''] = token.split('.');
    const other = callbacksOf(world).tokenOf({ taskId, life: 0, name: 'other' });
    const foreign = createCallbacks(createSecretBox(Buffer.alloc(32, 8).toString('base64')), () => undefined);
    const wrong = [
      ...['x', payload, `${payload}.`, `.${mac}`, `${payload}.${mac.slice(0, -2)}`, `${token}.x`, `${payload}x.${mac}`],
      ...[`${other.split('.')[0]}.${mac}`, foreign.tokenOf({ taskId, life: 0, name: 'answer' }), 'y'.repeat(2_000)],
    ];
    for (const one of wrong)
      expect(await post(`${world.url}/api/v1/callbacks/${one}`, {}), one).toMatchObject({ status: 401 });
    expect((await row(taskId)).signals).toBe(0);
    // A body that is not taken uses the address up as little as a wrong address does.
    const plain = { 'content-type': 'text/plain' };
    expect((await fetch(urlOf(taskId), { method: 'POST', body: 'x', headers: plain })).status).toBe(415);
    expect(await post(urlOf(taskId), 'x'.repeat(1_100_000))).toMatchObject({ status: 413 });
    expect(await post(urlOf(taskId), null)).toMatchObject({ status: 202 });
    expect(await client.waitForEnd(taskId)).toMatchObject({ output: { message: 'null' } });
  });
});

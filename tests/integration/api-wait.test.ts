import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { sendLines } from '../support/fake-ollama.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const echo = { type: 'echo', input: { message: 'hi' } };
const chat = { type: 'chat', input: { messages: [{ role: 'user', content: 'hi' }] } };

describe.each(BACKENDS)('waiting for a task on %s', (backend) => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ backend });
    client = await world.client();
  });
  afterAll(() => world.close());

  const post = (body: unknown, prefer: string) =>
    client.request<PresentedTask>('POST', '/api/v1/tasks', body, { prefer });

  it.each([
    ['wait=1000', 'wait=55'],
    ['respond-async, wait=20', 'wait=20'],
    ['wait="7"', 'wait=7'],
  ])('answers Prefer: %s with 200 and the final task, and says %s', async (prefer, applied) => {
    const { status, headers, body } = await post(echo, prefer);
    expect([status, body.status, body.output]).toEqual([200, 'completed', { message: 'hi' }]);
    expect(headers.get('preference-applied')).toBe(applied);
    expect(headers.get('retry-after')).toBeNull();
  });

  it.each(['wait=0', 'wait=-1', 'wait=soon', 'handling=strict'])('does not wait for Prefer: %s', async (prefer) => {
    const { status, headers } = await post({ ...echo, delay_seconds: 600 }, prefer);
    expect(status).toBe(202);
    expect(headers.get('preference-applied')).toBeNull();
  });

  it('answers 202 with the task as it is when the time is over', async () => {
    const { status, headers, body } = await post({ ...echo, delay_seconds: 600 }, 'wait=1');
    expect([status, body.status]).toEqual([202, 'scheduled']);
    expect(headers.get('preference-applied')).toBe('wait=1');
    expect(headers.get('retry-after')).toBe('1');
  });

  it('answers 200 with a task that failed', async () => {
    const { status, body } = await post(
      { ...chat, input: { ...chat.input, model: 'all-minilm' }, max_attempts: 1 },
      'wait=20',
    );
    expect([status, body.status]).toEqual([200, 'failed']);
    expect(body.error).toEqual({
      code: 'model_error',
      message: expect.stringContaining('all-minilm'),
      retryable: false,
    });
  });

  it('wakes every reader that waits when the task ends', async () => {
    let finish = () => {};
    world.ollama.script = (_, response) => {
      finish = () =>
        sendLines(response, [{ message: { role: 'assistant', content: 'done' }, done: true, done_reason: 'stop' }]);
      return true;
    };
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit(chat.type, chat.input);
    await called;
    const readers = Array.from({ length: 5 }, () =>
      client.request<PresentedTask>('GET', `/api/v1/tasks/${id}`, undefined, { prefer: 'wait=50' }),
    );
    const watched = () => world.db.selectFrom('tasks').select('watched').where('id', '=', id).executeTakeFirstOrThrow();
    await expect.poll(async () => (await watched()).watched).toBe(true);
    finish();
    for (const { status, headers, body } of await Promise.all(readers)) {
      expect([status, body.status]).toEqual([200, 'completed']);
      expect(headers.get('preference-applied')).toBe('wait=50');
    }
    world.ollama.script = undefined;
  });

  it('answers 304 as long as nothing changed, and 200 with another ETag afterwards', async () => {
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const read = (etag?: string) =>
      client.request<PresentedTask>('GET', `/api/v1/tasks/${id}`, undefined, etag ? { 'if-none-match': etag } : {});
    const first = await read();
    const etag = first.headers.get('etag') as string;
    expect(etag).toMatch(/^"[\w-]+"$/);
    expect(first.headers.get('retry-after')).toBe('1');
    expect(first.headers.get('cache-control')).toBe('private, no-cache');
    for (const match of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const same = await read(match);
      expect([same.status, same.body, same.headers.get('etag')]).toEqual([304, '', etag]);
      expect(same.headers.get('retry-after')).toBe('1');
    }
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    const after = await read(etag);
    expect([after.status, after.body.status]).toEqual([200, 'cancelled']);
    expect(after.headers.get('etag')).not.toBe(etag);
    expect(after.headers.get('retry-after')).toBeNull();
  });

  it('answers whoever waits with the task as it is when the process stops', async () => {
    const other = await world.join('api');
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const waiting = fetch(`${other.url}/api/v1/tasks/${id}`, {
      headers: { authorization: `Bearer ${client.token}`, prefer: 'wait=50' },
    });
    const watched = () => world.db.selectFrom('tasks').select('watched').where('id', '=', id).executeTakeFirstOrThrow();
    await expect.poll(async () => (await watched()).watched).toBe(true);
    await other.close();
    expect(await (await waiting).json()).toMatchObject({ id, status: 'scheduled' });
  });
});

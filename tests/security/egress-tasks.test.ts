import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { createOutbound, type Resolve } from '../../src/clients/outbound.ts';
import { listAttempts } from '../../src/db/tasks/read.ts';
import type { ClaimedTask } from '../../src/db/tasks/run.ts';
import { createRunningAttempts } from '../../src/workers/attempt.ts';
import { httpTools } from '../../src/workers/tools/http.ts';
import { PRIVATE, SPELLINGS } from '../support/private-urls.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const METADATA = '169.254.169.254';

describe('a URL of http.request', () => {
  let world: World;
  let client: Client;
  let host: Sink;
  beforeAll(async () => {
    world = await createWorld({ env: { EGRESS_ALLOW: '' } });
    client = await world.client();
    host = await startSink();
  });
  afterAll(async () => {
    await world.close();
    await host.close();
  });

  const submit = (url: string) =>
    client.request<{ errors: Array<{ pointer: string; detail: string }> }>('POST', '/api/v1/tasks', {
      type: 'http.request',
      input: { method: 'GET', url },
    });

  it.each([
    ...SPELLINGS,
    ...PRIVATE.map(([name, first]): [string, string] => [
      name,
      `http://${first.includes(':') ? `[${first}]` : first}/`,
    ]),
  ])('S34: is refused at the door where it means a private address: %s, %s', async (_, url) => {
    const { status, body } = await submit(url);
    expect(status).toBe(422);
    expect(body.errors).toEqual([{ pointer: '#/input/url', detail: expect.stringContaining('EGRESS_ALLOW') }]);
  });

  it.each(['file:///etc/passwd', 'gopher://example.com/', 'http://a:b@example.com/', '//example.com', '', 'x'])(
    'is refused at the door where it is %j',
    async (url) => {
      const { status, body } = await submit(url);
      expect([status, body.errors.map(({ pointer }) => pointer)]).toEqual([422, ['#/input/url']]);
    },
  );

  it('is pointed at within a batch, of which nothing is stored', async () => {
    const tasks = ['http://example.com/', 'http://10.0.0.1/'].map((url) => ({
      type: 'http.request',
      input: { method: 'GET', url },
    }));
    const { status, body } = await client.request<{ errors: object[] }>('POST', '/api/v1/tasks/batch', { tasks });
    expect([status, body.errors]).toMatchObject([422, [{ pointer: '#/tasks/1/input/url' }]]);
    expect((await client.request<{ data: unknown[] }>('GET', '/api/v1/tasks')).body.data).toEqual([]);
  });

  it('S39: does not lead to the services of the house', async () => {
    for (const service of [world.databaseUrl, inject('redisUrl'), world.ollama.url, world.url])
      expect((await submit(`http://${new URL(service).host}/`)).status).toBe(422);
  });

  it('is judged again by the worker, whatever the row says, and fails once', async () => {
    const { id } = await client.submit(
      'http.request',
      { method: 'GET', url: 'http://example.com/' },
      { delay_seconds: 2 },
    );
    const input = JSON.stringify({ method: 'GET', url: host.url });
    await world.db.updateTable('tasks').set({ input }).where('id', '=', id).execute();
    const task = await client.waitForEnd(id);
    expect(task).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'egress_refused', retryable: false } });
    expect(task.error?.message).toBe(
      'The URL leads to a private address (127.0.0.1). An operator can allow it with EGRESS_ALLOW.',
    );
    expect((await listAttempts(world.db, id)).map(({ outcome }) => outcome)).toEqual(['failed']);
    expect(host.received).toEqual([]);
  });
});

describe('an answer to http.request', () => {
  let world: World;
  let client: Client;
  let host: Sink;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
    host = await startSink();
  });
  afterEach(() => {
    host.answer = undefined;
    host.received.length = 0;
  });
  afterAll(async () => {
    await world.close();
    await host.close();
  });
  const run = () => client.runTask('http.request', { method: 'POST', url: host.url, body: 'x' });

  it.each([
    [301, `http://${METADATA}/latest/meta-data/`],
    [302, 'file:///etc/passwd'],
    [303, '/hook'],
    [307, '//localhost:1/'],
    [308, 'gopher://127.0.0.1:6379/_FLUSHALL'],
  ])('S37: %d to %s is not followed, and fails once', async (status, location) => {
    host.answer = (_, response) => response.writeHead(status, { location }).end();
    const task = await run();
    expect(task).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'upstream_rejected' } });
    expect(host.received).toHaveLength(1);
  });

  it('S43: is data: what looks like a task, an address or a tenant starts nothing', async () => {
    const said = { type: 'http.request', url: 'http://10.0.0.1/', user_id: 'admin', status: 'failed', next: host.url };
    host.answer = (_, response) => response.setHeader('content-type', 'application/json').end(JSON.stringify(said));
    const task = await run();
    expect(task).toMatchObject({ status: 'completed', user_id: client.userId, output: { body: said } });
    expect(host.received).toHaveLength(1);
    const { body } = await client.request<{ data: Array<{ id: string }> }>('GET', '/api/v1/tasks?limit=1');
    expect(body.data.map(({ id }) => id)).toEqual([task.id]);
  });

  it('S40: is seen by nobody else', async () => {
    const { id } = await run();
    expect((await (await world.client()).request('GET', `/api/v1/tasks/${id}`)).status).toBe(404);
  });
});

describe('a name in a URL of http.request', () => {
  /** Calls the name, which becomes these addresses, one list a look-up. */
  async function call(...answers: string[][]) {
    const resolve: Resolve = (_, __, callback) =>
      callback(
        null,
        (answers.shift() ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
    const outbound = createOutbound([], resolve);
    const task = { id: 'a', attempt: 1, timeout_ms: 5_000, request_id: null };
    const attempt = createRunningAttempts().start({ task: task as ClaimedTask, askedAt: 0 });
    const request = { method: 'GET', url: 'http://rebind.example.com:9/', headers: {} };
    return httpTools(attempt, outbound, 1_000).request(request);
  }

  it.each([
    ['a private address', [METADATA]],
    ['a private address among public ones', ['8.8.8.8', '127.0.0.1', '1.1.1.1']],
    ['a private IPv6 address', ['8.8.8.8', 'fd00::1']],
    ['an address mapped into IPv6', ['::ffff:10.0.0.1']],
    ['nothing', []],
  ])('S36: that becomes %s is refused, for good', async (_, addresses) => {
    await expect(call(addresses)).rejects.toMatchObject({ code: 'egress_refused', retryable: false });
  });
});

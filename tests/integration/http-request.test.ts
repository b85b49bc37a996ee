import type { ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

type Answer = (response: ServerResponse) => unknown;

describe.each(BACKENDS)('http.request on %s', (backend) => {
  let world: World;
  let client: Client;
  let host: Sink;
  beforeAll(async () => {
    world = await createWorld({ backend, env: { EGRESS_ALLOW: '127.0.0.1' } });
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

  /** The host gives these answers, one a call, and 200 from then on. */
  function answers(...given: Answer[]): void {
    host.answer = (n, response) => void (given[n] ?? ((last) => last.end('fine')))(response);
  }
  const status =
    (code: number, headers: Record<string, string> = {}): Answer =>
    (response) =>
      response.writeHead(code, headers).end(`answer ${code}`);
  const call = (more: Record<string, unknown> = {}) => ({ method: 'POST', url: host.url, ...more });
  const ledger = async (id: string) => (await listAttempts(world.db, id)).map(({ outcome }) => outcome);
  const keys = () => host.received.map(({ headers }) => headers['idempotency-key']);

  it('sends what it was given and brings the answer back', async () => {
    answers((response) =>
      response
        .writeHead(201, { 'content-type': 'application/json', 'x-thing': ['a', 'b'], 'set-cookie': 'secret=1' })
        .end('{"id":7,"list":[1,null]}'),
    );
    const input = call({
      method: 'PUT',
      url: `${host.url}?a=1#part`,
      headers: { 'X-Mine': 'yes' },
      body: { b: ['é'] },
    });
    const { body: task } = await client.request<{ id: string; status: string; output: { headers: object } }>(
      'POST',
      '/api/v1/tasks',
      { type: 'http.request', input },
      { prefer: 'wait=20', 'x-request-id': 'request-of-mine' },
    );
    expect(task).toMatchObject({
      status: 'completed',
      output: { status: 201, body: { id: 7, list: [1, null] }, body_format: 'json', headers: { 'x-thing': 'a, b' } },
    });
    expect(task.output.headers).not.toHaveProperty('set-cookie');
    expect(host.received).toMatchObject([
      {
        method: 'PUT',
        path: '/hook?a=1',
        body: '{"b":["é"]}',
        headers: {
          'x-mine': 'yes',
          'content-type': 'application/json',
          'accept-encoding': 'identity',
          'user-agent': 'SutazAI/1',
          'idempotency-key': task.id,
          'x-request-id': 'request-of-mine',
        },
      },
    ]);
  });

  it('lets the headers name another agent, once', async () => {
    await client.runTask(
      'http.request',
      call({ headers: { 'User-Agent': 'mine/1', 'Content-Type': 'text/csv' }, body: 'a,b' }),
    );
    expect(host.received[0]?.headers).toMatchObject({ 'user-agent': 'mine/1', 'content-type': 'text/csv' });
  });

  it.each([
    ['HEAD', (response: ServerResponse) => response.writeHead(200, { 'content-length': '500' }).end(), 200],
    ['DELETE', (response: ServerResponse) => response.writeHead(204).end(), 204],
  ])('knows that %s may be answered by nothing', async (method, answer, code) => {
    answers(answer);
    const { output } = await client.runTask('http.request', call({ method }));
    expect(output).toMatchObject({ status: code, body: null, body_format: 'none' });
  });

  const cut =
    (headers: Record<string, string>): Answer =>
    (response) => {
      response.writeHead(200, headers).write('half of it');
      setTimeout(() => response.destroy(), 20);
    };

  it('tries again with the same key when the host fails or breaks off, and stores one answer', async () => {
    answers(status(500), cut({ 'content-length': '100' }));
    const task = await client.runTask('http.request', call({ body: 'x' }));
    expect(task).toMatchObject({ status: 'completed', attempt: 3, output: { status: 200, body: 'fine' } });
    expect(await ledger(task.id)).toEqual(['retry', 'retry', 'completed']);
    expect(keys()).toEqual([task.id, task.id, task.id]);
    expect(new Set(host.received.map(({ headers }) => headers['x-request-id'])).size).toBe(1);
  });

  it.each([
    ['before it answers', (response: ServerResponse) => response.destroy(), 'upstream_unavailable'],
    ['within a chunk', cut({}), 'upstream_protocol'],
  ])('takes no answer for whole when the host breaks off %s', async (_, answer, code) => {
    answers(answer);
    const task = await client.runTask('http.request', call(), { max_attempts: 1 });
    expect(task).toMatchObject({ status: 'failed', output: null, error: { code, retryable: true } });
  });

  it('F25: fails once for what the host refuses, says why, and tells the webhook once', async () => {
    const hook = await startSink();
    answers((response) => response.writeHead(400).end('no such field'));
    const task = await client.runTask('http.request', call(), { webhook: { url: hook.url } });
    expect(task).toMatchObject({
      status: 'failed',
      attempt: 1,
      error: { code: 'upstream_rejected', message: 'The host answered 400: no such field', retryable: false },
    });
    expect(await ledger(task.id)).toEqual(['failed']);
    expect(host.received).toHaveLength(1);
    await until('the webhook', () => hook.received.length > 0);
    expect(hook.received.map(({ body }) => JSON.parse(body).type)).toEqual(['task.failed']);
    await hook.close();
  });

  it('waits as long as a busy host asks, without using up attempts', async () => {
    answers(status(429, { 'retry-after': '2' }), status(503));
    const task = await client.runTask('http.request', call(), { max_attempts: 1 });
    expect(task).toMatchObject({ status: 'completed', attempt: 3, error: null });
    expect(await ledger(task.id)).toEqual(['released', 'released', 'completed']);
    expect(host.received[1]!.at - host.received[0]!.at).toBeGreaterThanOrEqual(1_900);
    expect(keys()).toEqual([task.id, task.id, task.id]);
  });

  it('waits for no longer than its deadline', async () => {
    answers(status(429, { 'retry-after': '3600' }));
    const task = await client.runTask('http.request', call(), { expires_in_seconds: 3 });
    // It was started, so nothing of it has expired.
    expect(task).toMatchObject({ status: 'cancelled', cancel_reason: 'deadline', attempt: 1 });
    expect(host.received).toHaveLength(1);
  });

  it('gives up after max_attempts where nobody answers', async () => {
    // Not a port that was free a moment ago: another test may have it by now.
    const task = await client.runTask('http.request', call({ url: 'http://127.0.0.1:1/' }), { max_attempts: 2 });
    expect(task).toMatchObject({
      status: 'failed',
      attempt: 2,
      error: { code: 'upstream_unavailable', message: 'The host gave no answer (ECONNREFUSED).' },
    });
    expect(await ledger(task.id)).toEqual(['retry', 'failed']);
  });

  it('runs in the lane of agents', async () => {
    const { id } = await client.runTask('http.request', call());
    expect(await world.db.selectFrom('tasks').select('lane').where('id', '=', id).execute()).toEqual([
      { lane: 'agent' },
    ]);
  });
});

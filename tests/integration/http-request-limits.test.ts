import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const MAX_OUTPUT_BYTES = 50_000;
/** Far more than the two ends of a connection keep of what was written and not read. */
const BUFFERS = 30_000_000;

/** An answer that is under way, from the side of the host. */
interface Answering {
  response: ServerResponse;
  closed: Promise<void>;
  written: () => number;
}

describe.each(BACKENDS)('the limits of http.request on %s', (backend) => {
  let world: World;
  let client: Client;
  let host: Sink;
  beforeAll(async () => {
    const env = { EGRESS_ALLOW: '127.0.0.1', MAX_OUTPUT_BYTES: `${MAX_OUTPUT_BYTES}`, LEASE_SECONDS: '6' };
    world = await createWorld({ backend, env });
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

  const input = () => ({ method: 'GET', url: host.url });
  const run = (more = {}) => client.runTask('http.request', input(), more);
  const ledger = async (id: string) => (await listAttempts(world.db, id)).map(({ outcome }) => outcome);

  /** The host behaves so from now on; answers the calls that it got. */
  function behave(how: (response: ServerResponse) => unknown): Answering[] {
    const calls: Answering[] = [];
    host.answer = (_, response) => {
      const socket = response.socket as Socket;
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      calls.push({ response, closed, written: () => socket.bytesWritten });
      how(response);
    };
    return calls;
  }
  /** Says this again and again, as fast as it is taken. */
  function repeat(response: ServerResponse, text: string): void {
    const more = () => {
      while (!response.destroyed && response.write(text));
    };
    response.on('drain', more);
    more();
  }

  it.each([
    ['that never ends', {}, 'x'.repeat(64_000)],
    ['of a gigabyte', { 'content-length': '1000000000' }, 'x'.repeat(64_000)],
    // Cleaned, this would be an empty text, which is small enough.
    ['of NUL characters without end', {}, '\0'.repeat(64_000)],
    ['of JSON that nests for ever', { 'content-type': 'application/json' }, '['.repeat(64_000)],
  ])('F40: an answer %s is cut, the connection closed, and the task fails once', async (_, headers, text) => {
    const calls = behave((response) => {
      response.writeHead(200, headers);
      repeat(response, text);
    });
    const before = process.memoryUsage().rss;
    const task = await run();
    expect(task).toMatchObject({ status: 'failed', attempt: 1, output: null, error: { code: 'output_too_large' } });
    await calls[0]?.closed;
    expect(calls).toHaveLength(1);
    expect(calls[0]?.written()).toBeLessThan(BUFFERS);
    expect(process.memoryUsage().rss - before).toBeLessThan(200_000_000);
  });

  it('an error without end is judged by its status, and not read on', async () => {
    const calls = behave((response) => repeat(response.writeHead(400), 'x'.repeat(64_000)));
    expect(await run()).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'upstream_rejected' } });
    await calls[0]?.closed;
    expect(calls[0]?.written()).toBeLessThan(BUFFERS);
  });

  it('a host that drips is cut off by the time-out of the task', async () => {
    const calls = behave((response) => {
      const timer = setInterval(() => response.write('.'), 50);
      response.once('close', () => clearInterval(timer));
    });
    const task = await run({ timeout_seconds: 1, max_attempts: 1 });
    expect(task).toMatchObject({ status: 'failed', error: { code: 'timeout' } });
    await calls[0]?.closed;
  });

  it('a host that says nothing hears of the cancel by the end of the connection', async () => {
    const calls = behave(() => {});
    const { id } = await client.submit('http.request', input());
    const call = await until('the call', () => calls[0]);
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    await call.closed;
    expect((await client.waitForEnd(id)).status).toBe('cancelled');
    expect(await ledger(id)).toEqual(['cancelled']);
  });

  it('a worker that lost its lease closes the connection', async () => {
    const calls = behave(() => {});
    const { id } = await client.submit('http.request', input());
    const call = await until('the call', () => calls[0]);
    // Another worker has taken the task: the attempt that runs is no longer the present one.
    await sql`update tasks set attempt = attempt + 1, worker = 'another' where id = ${id}`.execute(world.db);
    await call.closed;
    expect(await ledger(id)).toEqual([]);
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    await client.waitForEnd(id);
  });

  it('an answer that is packed is not unpacked', async () => {
    behave((response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('x'.repeat(1_000_000))));
    const task = await run();
    expect(task).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'upstream_protocol' } });
    expect(task.error?.message).toContain('packed (gzip)');
  });

  it('headers without end fail once, and of many some are kept', async () => {
    behave((response) => response.writeHead(200, { 'x-long': 'x'.repeat(40_000) }).end());
    expect(await run()).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'upstream_protocol' } });
    behave((response) => {
      for (let n = 0; n < 500; n++) response.setHeader(`x-${n}`, `${n}`);
      response.end('fine');
    });
    const { output } = await run();
    expect(Object.keys((output as { headers: object }).headers)).toHaveLength(100);
  });

  it.each([
    ['NUL characters', 'text/plain', 'a\0b', 'ab'],
    [
      'bytes that are no UTF-8',
      'text/plain',
      Buffer.from([0x61, 0xff, 0xed, 0xa0, 0x80, 0x62]),
      'a\ufffd\ufffd\ufffd\ufffdb',
    ],
    ['NUL characters in JSON', 'application/json', '{"a":"\\u0000"}', '{"a":"\\u0000"}'],
    ['half of a surrogate pair', 'application/json', '["\\ud800"]', '["\\ud800"]'],
    ['numbers without bounds', 'application/json', '[1e400]', '[1e400]'],
    ['a way behind objects', 'application/json', '{"__proto__":{"a":1}}', '{"__proto__":{"a":1}}'],
    ['a deep pit', 'application/json', '['.repeat(40_000), '['.repeat(40_000)],
    ['SQL, HTML and headers', 'application/json', `{"a":"'); drop table tasks; --<script>\\r\\nx: y"}`, undefined],
  ])('F41: %s in an answer are kept as text that can be stored', async (_, contentType, body, kept) => {
    behave((response) => response.writeHead(200, { 'content-type': contentType }).end(body));
    const task = await run();
    expect(task).toMatchObject({ status: 'completed', attempt: 1 });
    expect((task.output as { body: unknown }).body).toEqual(kept ?? JSON.parse(String(body)));
  });

  it('headers that are named like parts of every object do no harm', async () => {
    behave((response) => {
      for (const name of ['constructor', '__proto__', 'hasOwnProperty']) response.setHeader(name, 'x');
      response.setHeader('x-a', 'y').end('fine');
    });
    expect((await run()).output).toMatchObject({ body: 'fine', headers: { 'x-a': 'y', constructor: 'x' } });
  });
});

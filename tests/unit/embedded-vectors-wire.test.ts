import { once } from 'node:events';
import { connect } from 'node:net';
import type { QdrantClient } from '@qdrant/js-client-rest';
import { beforeEach, describe, expect, test } from 'vitest';
import { startVectorStore, type VectorStore } from '../../src/embedded/vectors/server.ts';
import { createLog } from '../../src/log.ts';
import { startTestVectorStore } from '../support/vector-store.ts';

const log = createLog('silent');
let dataDir: string;
let store: VectorStore;
let client: QdrantClient;

beforeEach(async () => {
  const started = await startTestVectorStore();
  ({ dataDir, store, client } = started);
  // A test may have put another one on the same folder.
  return () => store.close().then(started.close);
});

async function send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(store.url + path, { method, body: text, headers });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

describe('the wire', () => {
  test.each([
    [
      'an unknown collection',
      'GET',
      '/collections/none',
      undefined,
      404,
      "Not found: Collection `none` doesn't exist!",
    ],
    [
      'an unknown point',
      'GET',
      '/collections/c/points/99',
      undefined,
      404,
      'Not found: Point with id 99 does not exists!',
    ],
    [
      'a broken id in the address',
      'GET',
      '/collections/c/points/-1',
      undefined,
      400,
      'Wrong input: Can not recognize "-1" as point id',
    ],
    [
      'a query by an unknown point',
      'POST',
      '/collections/c/points/query',
      { query: 99 },
      404,
      'Not found: No point with id 99 found',
    ],
    [
      'a collection that exists',
      'PUT',
      '/collections/c',
      { vectors: { size: 2, distance: 'Dot' } },
      409,
      'Wrong input: Collection `c` already exists!',
    ],
    [
      'named vectors',
      'PUT',
      '/collections/d',
      { vectors: { text: { size: 2, distance: 'Dot' } } },
      400,
      /named vectors .* not supported/,
    ],
    [
      'sparse vectors',
      'PUT',
      '/collections/d',
      { vectors: { size: 2, distance: 'Dot' }, sparse_vectors: { s: {} } },
      400,
      /sparse vectors are not supported/,
    ],
    [
      'a size of nothing',
      'PUT',
      '/collections/d',
      { vectors: { size: 0, distance: 'Dot' } },
      422,
      /vectors.size: value 0 invalid/,
    ],
    [
      'a wrong dimension',
      'POST',
      '/collections/c/points/query',
      { query: [1] },
      400,
      'Wrong input: Vector dimension error: expected dim: 2, got 1',
    ],
    [
      'a broken id',
      'PUT',
      '/collections/c/points',
      { points: [{ id: -1, vector: [1, 1] }] },
      400,
      /^Format error in JSON body: points\.0\.id: /,
    ],
    [
      'a vector of words',
      'PUT',
      '/collections/c/points',
      { points: [{ id: 1, vector: ['a', 1] }] },
      400,
      /expected a list of numbers/,
    ],
    [
      'a number no 32-bit float holds',
      'PUT',
      '/collections/c/points',
      { points: [{ id: 1, vector: [1e39, 1] }] },
      400,
      /too large/,
    ],
    ['broken JSON', 'POST', '/collections/c/points/query', '{"query":', 400, /^Format error in JSON body: /],
    [
      'endless nesting',
      'POST',
      '/collections/c/points/scroll',
      '['.repeat(100_000) + ']'.repeat(100_000),
      400,
      /recursion limit exceeded/,
    ],
    ['no selection to delete', 'POST', '/collections/c/points/delete', {}, 400, /either a list of points or a filter/],
    [
      'a misspelt selection to delete',
      'POST',
      '/collections/c/points/delete',
      { filter: {}, fillter: {} },
      400,
      /fillter/,
    ],
    [
      'another kind of query',
      'POST',
      '/collections/c/points/query',
      { query: { fusion: 'rrf' } },
      400,
      /nearest-neighbour queries only/,
    ],
    [
      'a limit of nothing',
      'POST',
      '/collections/c/points/scroll',
      { limit: 0 },
      422,
      /limit: value 0 invalid, must be 1 or larger/,
    ],
    [
      'the search route of older versions',
      'POST',
      '/collections/c/points/search',
      { vector: [1, 1] },
      404,
      /^Not found: /,
    ],
    ['a strange wait', 'PUT', '/collections/c/points?wait=perhaps', { points: [] }, 400, /wait/],
  ])('answers %s in the shape of an error', async (_what, method, path, body, status, error) => {
    await client.createCollection('c', { vectors: { size: 2, distance: 'Dot' } });
    const answer = await send(method, path, body);
    const message = typeof error === 'string' ? error : expect.stringMatching(error);
    expect(answer).toEqual({ status, body: { status: { error: message }, time: expect.any(Number) } });
  });

  test('wraps results, tells its version and its health', async () => {
    expect((await send('GET', '/collections')).body).toEqual({
      result: { collections: [] },
      status: 'ok',
      time: expect.any(Number),
    });
    const { title, version } = (await send('GET', '/')).body;
    expect(title).toContain('embedded');
    expect(version).toMatch(/^1\.19\./);
    for (const path of ['/healthz', '/livez', '/readyz']) expect((await fetch(store.url + path)).status).toBe(200);
  });

  test('refuses bodies of more than 32 MiB, with a length and without, and goes on', async () => {
    const path = '/collections/none/points/count';
    expect((await send('POST', path, ' '.repeat(32 * 1024 * 1024 + 1))).status).toBe(413);
    const chunks = new ReadableStream({
      start(controller) {
        for (let at = 0; at < 33; at++) controller.enqueue(new Uint8Array(1024 * 1024).fill(32));
        controller.close();
      },
    });
    const init: RequestInit & { duplex: 'half' } = { method: 'POST', body: chunks, duplex: 'half' };
    expect((await fetch(store.url + path, init)).status).toBe(413);
    expect((await send('GET', '/collections')).status).toBe(200);
  });

  test('wants the key when there is one, but not for health', async () => {
    await store.close();
    store = await startVectorStore({ dataDir, log, apiKey: 'secret' });
    expect((await send('GET', '/collections')).status).toBe(401);
    expect((await send('GET', '/collections', undefined, { 'api-key': 'wrong' })).status).toBe(401);
    expect((await send('GET', '/collections', undefined, { 'api-key': 'secret' })).status).toBe(200);
    expect((await send('GET', '/collections', undefined, { authorization: 'Bearer secret' })).status).toBe(200);
    expect((await fetch(`${store.url}/readyz`)).status).toBe(200);
  });

  test('finishes what is under way when it closes and answers 503 to what comes after', async () => {
    await client.createCollection('c', { vectors: { size: 1, distance: 'Dot' } });
    const socket = connect(Number(new URL(store.url).port), '127.0.0.1');
    let received = '';
    socket.on('data', (data) => {
      received += data;
    });
    socket.write(
      'POST /collections/c/points/count HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n{',
    );
    await once(socket, 'data');
    const closed = store.close();
    socket.write('}GET /collections HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(socket, 'close');
    await closed;
    expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 100', 'HTTP/1.1 200', 'HTTP/1.1 503']);
    expect(received).toContain('"result":{"count":0}');
  });
});

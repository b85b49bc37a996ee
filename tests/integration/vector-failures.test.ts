import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { COLLECTION_FIELD, createVectorClient, type VectorClient } from '../../src/clients/qdrant.ts';
import { createLog } from '../../src/log.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { type FrontScript, type HttpFront, startHttpFront } from '../support/http-front.ts';
import { until } from '../support/until.ts';
import { clientOf } from '../support/vector-store.ts';
import { createWorld, type World } from '../support/world.ts';

const SIZE = 3;
const { signal } = new AbortController();
const real = clientOf(inject('qdrantUrl'));
let front: HttpFront;
let client: VectorClient;
let name: string;
beforeEach(async () => {
  front = await startHttpFront(inject('qdrantUrl'));
  client = createVectorClient({ url: front.url, log: createLog('silent') });
  name = `t_${randomUUID()}`;
  await real.createCollection(name, { vectors: { size: SIZE, distance: 'Cosine' } });
});
afterEach(async () => {
  await front.close();
  await real.deleteCollection(name);
});

const points = Array.from({ length: 20 }, (_, n) => ({
  id: `00000000-0000-5000-8000-${String(n).padStart(12, '0')}`,
  vector: [n + 1, 1, 0],
  payload: { n },
}));
const upsert = (given = points) => client.upsert(name, given, signal);
const query = (vector = [1, 1, 0], limit = 5) => client.query(name, { vector, filter: {}, limit }, signal);
const count = async (collection = name) => (await real.count(collection)).count;
const answer =
  (status: number, error: string, headers: Record<string, string> = {}): FrontScript =>
  (_, response) => {
    for (const [key, value] of Object.entries(headers)) response.setHeader(key, value);
    sendJson(response, status, { status: { error }, time: 0 });
  };

const LIMITED = { code: 'upstream_rate_limited', retryable: true, later: true, outage: undefined };
const AWAY = { code: 'upstream_unavailable', retryable: true, later: false, outage: 'away' };

describe('a failure of the vector store', () => {
  it.each<[string, FrontScript, object]>([
    ['that it is full', answer(503, 'busy'), { ...AWAY, later: true }],
    ['that it is asked too often', answer(429, 'Rate limiting exceeded'), LIMITED],
    ['that says when to come back', answer(429, 'slow', { 'retry-after': '30' }), LIMITED],
    ['that says it by a date', answer(429, 'slow', { 'retry-after': 'Wed, 21 Oct 2026 07:28:00 GMT' }), LIMITED],
    ['inside of it', answer(500, 'Service internal error'), { ...AWAY, outage: 'failing' }],
    ['of its gateway', answer(502, 'bad gateway'), AWAY],
    [
      'of strict mode',
      answer(400, 'Bad request: Limit exceeded 200 > 100 for "limit"'),
      { code: 'upstream_rejected', retryable: false },
    ],
    ['of the key', answer(403, 'Forbidden: api key'), { code: 'upstream_rejected', retryable: false }],
    [
      'by another status than promised',
      (_, response) => sendJson(response, 202, { result: {} }),
      { code: 'upstream_protocol', retryable: true },
    ],
    ['by a reset', (_, { socket }) => void socket?.resetAndDestroy(), AWAY],
    [
      'by something else than JSON',
      (_, response) => void response.end('<h1>hello</h1>'),
      { code: 'upstream_protocol', retryable: true },
    ],
    ['by nothing', (_, response) => sendJson(response, 200, null), { code: 'upstream_protocol', retryable: true }],
  ])('%s has its class', async (_, script, expected) => {
    front.script = script;
    await expect(query()).rejects.toMatchObject({ name: 'TaskError', ...expected });
    await expect(upsert()).rejects.toMatchObject({ name: 'TaskError', ...expected });
    front.script = undefined;
    await upsert();
  });

  it('that the vectors do not fit is final', async () => {
    await expect(upsert([{ ...points[0]!, vector: [1, 2] }])).rejects.toMatchObject({
      code: 'dimension_mismatch',
      retryable: false,
    });
    await upsert();
    await expect(query([1, 2])).rejects.toMatchObject({ code: 'dimension_mismatch', retryable: false });
  });

  it('that the collection is lost has the next upsert make it again', async () => {
    await real.deleteCollection(name);
    await expect(query()).rejects.toMatchObject({ code: 'upstream_unavailable', retryable: true, later: false });
    await expect(upsert()).rejects.toMatchObject({ code: 'upstream_unavailable', retryable: true, later: false });
    await client.ensureCollection(name, SIZE, 'Cosine');
    await upsert();
    expect(await count()).toBe(points.length);
    expect(client.breaker.state()).toBe('closed');
  });

  it.each<[string, FrontScript, object]>([
    ['does not come', async (_, __, forward) => void (await forward()), AWAY],
    [
      'is cut',
      async (_, response, forward) => {
        const { body } = await forward();
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
        response.write(body.subarray(0, 10), () => response.destroy());
      },
      AWAY,
    ],
    [
      'comes before the points are stored',
      async (_, response, forward) => {
        await forward();
        sendJson(response, 200, { result: { operation_id: 1, status: 'acknowledged' }, status: 'ok', time: 0 });
      },
      { ...AWAY, outage: undefined },
    ],
  ])('whose answer %s is tried again, and changes nothing more', async (what, script, expected) => {
    const impatient = createVectorClient({ url: front.url, timeoutMs: 500, log: createLog('silent') });
    const asked = what === 'does not come' ? impatient : client;
    front.script = script;
    await expect(asked.upsert(name, points, signal)).rejects.toMatchObject(expected);
    // It may have been given up before they were stored.
    await expect.poll(() => count()).toBe(points.length);
    front.script = undefined;
    await upsert();
    expect(await count()).toBe(points.length);
  });
});

it('a collection that is there gets the indexes of what is asked for by', async () => {
  await client.ensureCollection(name, SIZE, 'Cosine');
  const { payload_schema } = await real.getCollection(name);
  expect(Object.entries(payload_schema).map(([field, schema]) => `${field} ${schema?.data_type}`)).toEqual(
    expect.arrayContaining(['tenant keyword', 'collection keyword', 'document keyword', 'piece integer']),
  );
});

it('a call of the vector store ends with its signal, and closes the connection', async () => {
  front.script = () => {};
  front.calls.length = 0;
  const slow = createVectorClient({ url: front.url, log: createLog('silent') });
  for (const call of [
    (given: AbortSignal) => slow.upsert(name, points, given),
    (given: AbortSignal) => slow.query(name, { vector: [1, 1, 0], filter: {}, limit: 1 }, given),
  ]) {
    const controller = new AbortController();
    const ended = call(controller.signal).catch((error) => error);
    const made = await until('the call', () => front.calls.shift());
    controller.abort(new Error('enough'));
    expect(await ended).toMatchObject({ message: 'enough' });
    expect(await made.closedEarly).toBe(true);
  }
  expect(slow.breaker.state()).toBe('closed');
});

it('the breaker of the vector store opens when it does not answer, and asks for its version before it closes', async () => {
  front.script = answer(503, 'busy');
  for (let n = 0; n < 5; n++) await upsert().catch(() => {});
  expect(client.breaker.state()).toBe('open');
  front.calls.length = 0;
  await expect(query()).rejects.toMatchObject({ later: true, message: expect.stringContaining('left alone') });
  expect(front.calls).toEqual([]);
  front.script = undefined;
  await expect.poll(client.breaker.state).toBe('half_open');
  await upsert();
  expect(front.calls.map(({ path }) => path)).toEqual(['/', `/collections/${name}/points?wait=true`]);
  expect(client.breaker.state()).toBe('closed');
});

it('the breaker of the vector store is not opened by what fails for one user alone', async () => {
  const panics: FrontScript = async (call, response, forward) => {
    if (call.path !== '/') return void answer(500, 'panicked')(call, response, forward);
    const { status, body } = await forward();
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  };
  front.script = panics;
  const search = (user: string) => client.query(name, { vector: [1, 1, 0], filter: {}, limit: 1 }, signal, user);
  for (let n = 0; n < 12; n++) await expect(search('eve')).rejects.toMatchObject({ outage: 'failing' });
  expect(client.breaker.state()).toBe('closed');
  front.script = undefined;
  expect(await search('alice')).toEqual(expect.any(Array));
  front.script = panics;
  for (const user of ['eve', 'alice', 'eve', 'eve', 'alice']) await search(user).catch(() => {});
  expect(client.breaker.state()).toBe('open');
});

describe('tasks over a vector store that fails', () => {
  let world: World;
  beforeEach(async () => {
    world = await createWorld({ env: { QDRANT_URL: front.url } });
  });
  afterEach(() => world.close());

  it('store each point once, whatever became of the answers', async () => {
    const alice = await world.client();
    const texts = Array.from({ length: 30 }, (_, n) => ({ text: `note ${n}` }));
    let cuts = 2;
    front.script = async ({ method, path }, response, forward) => {
      const { status, body } = await forward();
      if (method === 'PUT' && path.includes('/points') && cuts-- > 0) return void response.socket?.resetAndDestroy();
      response.writeHead(status, { 'content-type': 'application/json' }).end(body);
    };
    const task = await alice.runTask('vector.upsert', { collection: 'notes', points: texts });
    expect(task).toMatchObject({ status: 'completed', attempt: 3 });
    const [{ id }] = (await world.db.selectFrom('collections').select('id').execute()) as [{ id: string }];
    const filter = { must: [{ key: COLLECTION_FIELD, match: { value: id } }] };
    expect((await real.count('sutazai_all-minilm-latest_8', { filter })).count).toBe(30);
  });

  it('give large whole numbers back as the numbers they were', async () => {
    const alice = await world.client();
    const payload = { big: 1e18, list: [{ deep: -9007199254740992 }], small: 5 };
    await alice.runTask('vector.upsert', { collection: 'big', points: [{ id: 1, vector: [1, 2], payload }] });
    const task = await alice.runTask('vector.search', { collection: 'big', vector: [1, 2] }, { max_attempts: 1 });
    expect(task).toMatchObject({ status: 'completed', output: { hits: [{ payload }] } });
  });
});

import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { COLLECTION_FIELD, createVectorClient } from '../../src/clients/qdrant.ts';
import { createLog } from '../../src/log.ts';
import { createSweeper, type Sweeper } from '../../src/vectors/sweeper.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { type HttpFront, startHttpFront } from '../support/http-front.ts';
import { until } from '../support/until.ts';
import { clientOf } from '../support/vector-store.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const PATH = '/api/v1/collections/notes';
const STORE = 'sutazai_vectors_2';
const log = createLog('silent');
const points = [1, 2, 3].map((id) => ({ id, vector: [id, 1] }));

let world: World;
let front: HttpFront;
let sweeper: Sweeper;
beforeAll(async () => {
  front = await startHttpFront(inject('qdrantUrl'));
  world = await createWorld({ env: { QDRANT_URL: front.url } });
  const store = createVectorClient({ url: inject('qdrantUrl'), log });
  sweeper = createSweeper({ db: world.db, store, log, everyMs: 600_000, settleMs: 0 });
});
afterAll(async () => {
  await sweeper.close();
  await world.close();
  await front.close();
});
afterEach(() => {
  front.script = undefined;
  world.ollama.script = undefined;
});

const rowsOf = ({ userId }: Client) =>
  world.db.selectFrom('collections').selectAll().where('user_id', '=', userId).execute();
const idOf = async (client: Client) => (await rowsOf(client))[0]!.id;
const pointsIn = async (id: string) => {
  const filter = { must: [{ key: COLLECTION_FIELD, match: { value: id } }] };
  return (await clientOf(inject('qdrantUrl')).count(STORE, { filter, exact: true })).count;
};
const store = (client: Client) => client.runTask('vector.upsert', { collection: 'notes', points }, { max_attempts: 1 });
const remove = async (client: Client) => (await client.request('DELETE', PATH)).status;
/** Has the sweeper look again at everything, as it would after a while. */
async function sweep(): Promise<void> {
  const now = { sweep_at: new Date(0) };
  await world.db.updateTable('collections').set(now).where('removed_at', 'is not', null).execute();
  await sweeper.runOnce();
}
/** Sweeps until the user has no row but these. That of the worker may have come first. */
const sweepTo = (client: Client, ids: string[]) =>
  until('nothing is left', async () => {
    await sweep();
    return JSON.stringify((await rowsOf(client)).map(({ id }) => id)) === JSON.stringify(ids);
  });

it('a list of collections has a few counted at a time', async () => {
  const client = await world.client();
  const names = Array.from({ length: 10 }, (_, n) => `c${n}`);
  for (const name of names)
    await client.request('POST', '/api/v1/collections', { name, embedding_model: null, dimensions: 2 });
  let [now, most] = [0, 0];
  front.script = async ({ path }, response, forward) => {
    if (path.endsWith('/count')) most = Math.max(most, ++now);
    const { status, body } = await forward();
    if (path.endsWith('/count')) now--;
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  };
  const { body } = await client.request<{ data: Array<{ points: number }> }>('GET', '/api/v1/collections');
  expect(body.data.map(({ points }) => points)).toEqual(Array(10).fill(0));
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThanOrEqual(4);
});

describe('a collection that is deleted', () => {
  it('is gone at once with its points, and nothing is left of it in the end; another of its name is another', async () => {
    const client = await world.client();
    await store(client);
    const id = await idOf(client);
    expect(await pointsIn(id)).toBe(3);
    expect(await remove(client)).toBe(204);
    expect(await pointsIn(id)).toBe(0);
    expect(await remove(client)).toBe(404);
    // A name that no column could hold is one that nobody has.
    expect((await client.request('DELETE', `/api/v1/collections/${'n'.repeat(101)}`)).status).toBe(404);
    expect((await client.request('GET', PATH)).status).toBe(404);
    expect((await client.request('GET', '/api/v1/collections')).body).toMatchObject({ data: [] });
    const search = { collection: 'notes', vector: [1, 1] };
    expect((await client.runTask('vector.search', search)).error).toMatchObject({ code: 'collection_not_found' });

    await store(client);
    const second = (await rowsOf(client)).find(({ removed_at }) => removed_at === null)!;
    expect(second.id).not.toBe(id);
    await sweepTo(client, [second.id]);
    expect(await pointsIn(second.id)).toBe(3);
  });

  it('while the store is away, or whose process is killed in the middle, is emptied by whoever comes next', async () => {
    const client = await world.client();
    await store(client);
    const id = await idOf(client);
    front.script = (_, response) => sendJson(response, 503, { status: { error: 'busy' }, time: 0 });
    expect(await remove(client)).toBe(204);
    expect((await client.request('GET', PATH)).status).toBe(404);
    expect(await pointsIn(id)).toBe(3);
    // The sweeper of the worker, for which the store is still away, may have it just now.
    await until('it is empty', async () => {
      await sweep();
      return (await pointsIn(id)) === 0;
    });
    await sweepTo(client, []);
  });

  it('leaves no place in the store where it was the last of vectors of its length, and one is made by points or a search alone', async () => {
    const isThere = async () => (await clientOf(inject('qdrantUrl')).collectionExists('sutazai_vectors_37')).exists;
    const [one, other] = [await world.client(), await world.client()];
    const vector = Array(37).fill(1);
    for (const client of [one, other])
      await client.request('POST', '/api/v1/collections', { name: 'notes', embedding_model: null, dimensions: 37 });
    expect(await isThere()).toBe(false);
    expect((await one.request('POST', `${PATH}/search`, { vector })).body).toEqual({ hits: [] });
    expect(await isThere()).toBe(true);
    expect(await remove(one)).toBe(204);
    await sweepTo(one, []);
    expect(await isThere()).toBe(true);
    expect(await remove(other)).toBe(204);
    await sweepTo(other, []);
    expect(await isThere()).toBe(false);
    // Whoever remembers that it was there finds out.
    const again = { collection: 'notes', points: [{ id: 1, vector }] };
    expect((await one.runTask('vector.upsert', again, { max_attempts: 1 })).error).toBeNull();
    await one.request('POST', '/api/v1/collections', { name: 'more', embedding_model: null, dimensions: 37 });
    expect((await one.request('POST', `${PATH}/search`, { vector })).body).toMatchObject({ hits: [{ id: 1 }] });
  });

  it('while points are on their way into it keeps none of them', async () => {
    const client = await world.client();
    await store(client);
    const id = await idOf(client);
    let arrived = () => {};
    let letGo = () => {};
    const atStore = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    front.script = async ({ method, path }, response, forward) => {
      if (method === 'PUT' && path.includes('/points')) {
        arrived();
        await gate;
      }
      const { status, body } = await forward();
      response.writeHead(status, { 'content-type': 'application/json' }).end(body);
    };
    const running = store(client);
    await atStore;
    expect(await remove(client)).toBe(204);
    // However often it is looked at: somebody who knew it is still at work.
    for (const _ of [1, 2, 3]) await sweep();
    expect((await rowsOf(client)).map((row) => row.id)).toEqual([id]);
    letGo();
    expect((await running).error).toMatchObject({ code: 'collection_not_found' });
    expect(await pointsIn(id)).toBe(0);
    await sweepTo(client, []);
    expect(await pointsIn(id)).toBe(0);
  });
});

describe('what was submitted before its collection was deleted', () => {
  const GONE = { status: 'failed', attempt: 1, error: { code: 'collection_not_found', retryable: false } };
  const change = (client: Client, method: string, name: string, more: object = {}) =>
    method === 'POST'
      ? client.request('POST', '/api/v1/collections', { name, ...more })
      : client.request<{ points: number }>(method, `/api/v1/collections/${name}`);

  it('brings nothing back and touches none in its place; submitted anew it makes one', async () => {
    const client = await world.client();
    for (const name of ['gone', 'anew']) expect((await change(client, 'POST', name)).status).toBe(201);
    const inputs = ['gone', 'anew'].flatMap((collection) => [
      ['document.ingest', { collection, text: 'The kettle is red.' }] as const,
      ['vector.upsert', { collection, points: [{ id: 1, text: 'a red kettle' }] }] as const,
      ['vector.delete', { collection, all: true }] as const,
    ]);
    const early = await Promise.all(inputs.map(([type, input]) => client.submit(type, input, { delay_seconds: 1 })));
    for (const name of ['gone', 'anew']) expect((await change(client, 'DELETE', name)).status).toBe(204);
    await change(client, 'POST', 'anew');
    for (const { id } of early) expect(await client.waitForEnd(id)).toMatchObject(GONE);
    const [first] = early;
    await client.request('POST', `/api/v1/tasks/${first!.id}/retry`);
    expect(await client.waitForEnd(first!.id)).toMatchObject({ ...GONE, attempt: 2 });
    expect((await change(client, 'GET', 'gone')).status).toBe(404);
    expect((await change(client, 'GET', 'anew')).body).toMatchObject({ points: 0 });

    const texts = ['The kettle is red.', 'The kettle is blue.'].map((text) => ({ collection: 'gone', text }));
    const both = await Promise.all(texts.map((input) => client.runTask('document.ingest', input)));
    expect(both.map(({ error }) => error)).toEqual([null, null]);
    expect((await change(client, 'GET', 'gone')).body).toMatchObject({ points: 2 });
  });

  /** Holds whoever embeds. */
  function holdModel() {
    const { promise: hold, resolve: go } = Promise.withResolvers<void>();
    const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
    world.ollama.script = async ({ path }) => {
      if (path !== '/api/embed') return false;
      ask();
      await hold;
      return false;
    };
    return { asked, go };
  }

  it('fails where it waits for a task with the same content', async () => {
    const client = await world.client();
    await change(client, 'POST', 'notes');
    const { asked, go } = holdModel();
    const ingest = async () => {
      const { body } = await client.request<{ id: string }>('POST', `${PATH}/documents`, {
        text: 'The gate is green.',
      });
      return body.id;
    };
    const running = await ingest();
    await asked;
    const waiting = await ingest();
    await until('it waits', async () => {
      const { body } = await client.request<{ error: { code: string } | null }>('GET', `/api/v1/tasks/${waiting}`);
      return body.error?.code === 'document_busy';
    });
    expect((await change(client, 'DELETE', 'notes')).status).toBe(204);
    go();
    for (const id of [running, waiting]) expect((await client.waitForEnd(id)).error).toMatchObject(GONE.error);
    expect((await change(client, 'GET', 'notes')).status).toBe(404);
  });

  it('fails where it waits for the model of a collection that it was to make', async () => {
    const client = await world.client();
    const { asked, go } = holdModel();
    const points = [{ id: 1, text: 'The gate is open.' }];
    const { id } = await client.submit('vector.upsert', { collection: 'notes', points });
    await asked;
    await change(client, 'POST', 'notes', { embedding_model: null, dimensions: 2 });
    expect((await change(client, 'DELETE', 'notes')).status).toBe(204);
    go();
    expect(await client.waitForEnd(id)).toMatchObject(GONE);
    expect((await change(client, 'GET', 'notes')).status).toBe(404);
  });
});

import { QdrantClient } from '@qdrant/js-client-rest';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import type { Hit } from '../../src/tasks/tools.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let alice: Client;
let bob: Client;
beforeAll(async () => {
  world = await createWorld();
  alice = await world.client();
  bob = await world.client();
});
afterAll(() => world.close());
afterEach(() => {
  world.ollama.script = undefined;
});

const NOTES = [
  { id: 'tea', text: 'the kettle is in the kitchen', payload: { room: 'kitchen', floor: 0 } },
  { id: 'bed', text: 'a blanket lies on the bed', payload: { room: 'attic', floor: 2 } },
  { id: 7, text: 'tools hang in the shed', payload: { room: 'shed', floor: 0 } },
];

async function store(client: Client, collection: string, points: unknown[] = NOTES) {
  return client.runTask('vector.upsert', { collection, points });
}
async function search(client: Client, input: Record<string, unknown>): Promise<Hit[]> {
  const task = await client.runTask('vector.search', input, { max_attempts: 1 });
  expect(task.error).toBeNull();
  return (task.output as { hits: Hit[] }).hits;
}
async function failure(client: Client, type: string, input: unknown) {
  const task = await client.runTask(type, input, { max_attempts: 1 });
  expect(task.status).toBe('failed');
  return task.error;
}
const ids = (hits: Hit[]) => hits.map(({ id }) => id).sort();

describe('a collection', () => {
  it('gives back what is nearest, as it was stored', async () => {
    expect((await store(alice, 'notes')).output).toEqual({ collection: 'notes', upserted: 3, ids: ['tea', 'bed', 7] });
    const hits = await search(alice, { collection: 'notes', query: 'the kettle is in the kitchen', limit: 2 });
    expect(hits).toHaveLength(2);
    expect(hits[0]).toEqual({
      id: 'tea',
      score: expect.closeTo(1, 3),
      payload: NOTES[0]!.payload,
      text: NOTES[0]!.text,
    });
  });

  it('is filtered by payload and by id, and cut off by score', async () => {
    await store(alice, 'filtered');
    const all = { collection: 'filtered', query: 'the kettle is in the kitchen' };
    const where = (filter: unknown) => search(alice, { ...all, filter });
    expect(ids(await where({ must: [{ key: 'floor', match: { value: 0 } }] }))).toEqual([7, 'tea']);
    expect(ids(await where({ must_not: { key: 'room', match: { any: ['shed', 'attic'] } } }))).toEqual(['tea']);
    expect(ids(await where({ must: [{ has_id: ['bed', 7] }] }))).toEqual([7, 'bed']);
    // The number 7 and the text "7" are two ids.
    expect(await where({ must: [{ has_id: ['7'] }] })).toEqual([]);
    expect(ids(await search(alice, { ...all, score_threshold: 0.999 }))).toEqual(['tea']);
  });

  it('S44: of one user is not seen by another who has one of the same name, whatever the filter says', async () => {
    await store(alice, 'shared');
    const own = [{ id: 'mine', text: 'the kettle is in the kitchen' }];
    await store(bob, 'shared', own);
    const rows = await world.db.selectFrom('collections').selectAll().where('name', '=', 'shared').execute();
    const hers = rows.find(({ user_id }) => user_id === alice.userId)!;
    const query = { collection: 'shared', query: 'the kettle is in the kitchen', limit: 200 };
    expect(ids(await search(bob, query))).toEqual(['mine']);
    const crafted = [
      { should: [{ key: 'tenant', match: { value: alice.userId } }] },
      { must: [{ key: 'collection', match: { value: hers.id } }] },
      { should: [{ key: 'text', match: { text: 'kettle' } }, { must_not: { key: 'room', match: { value: 'x' } } }] },
      { must_not: [{ key: 'tenant', match: { value: bob.userId } }] },
      { must: [{ has_id: ['tea', 'bed', 7] }] },
    ];
    for (const filter of crafted)
      expect(ids(await search(bob, { ...query, filter })).filter((id) => id !== 'mine')).toEqual([]);
    expect(await failure(bob, 'vector.search', { ...query, filter: { min_should: {} } })).toMatchObject({
      code: 'invalid_input',
    });
    // Nor is one of her collections seen from another of her own.
    await store(alice, 'second', [{ id: 'other', text: 'the kettle' }]);
    expect(ids(await search(alice, { ...query, collection: 'second' }))).toEqual(['other']);
    // And what he stores under her ids stays his.
    await store(bob, 'shared', [{ id: 'tea', text: 'overwritten' }]);
    expect((await search(alice, { ...query, limit: 1 }))[0]?.text).toBe(NOTES[0]?.text);
  });

  it('has each id once, however often it is stored', async () => {
    await store(alice, 'again');
    await store(alice, 'again', [...NOTES, { id: 'tea', text: 'the kettle has moved' }]);
    const hits = await search(alice, { collection: 'again', query: 'kettle', limit: 200 });
    expect(ids(hits)).toEqual([7, 'bed', 'tea']);
    expect(hits.find(({ id }) => id === 'tea')?.text).toBe('the kettle has moved');
  });

  it('gives points without ids the same ones in each attempt', async () => {
    const points = [{ text: 'first' }, { text: 'second' }];
    const { id, output } = await store(alice, 'unnamed', points);
    await alice.request('POST', `/api/v1/tasks/${id}/retry`);
    const second = await alice.waitForEnd(id);
    expect(second).toMatchObject({ attempt: 2, output });
    expect(await search(alice, { collection: 'unnamed', query: 'first', limit: 200 })).toHaveLength(2);
    await store(alice, 'unnamed', points);
    expect(await search(alice, { collection: 'unnamed', query: 'first', limit: 200 })).toHaveLength(4);
  });

  it('may hold vectors of one length, and then takes no texts', async () => {
    const points = [
      { id: 1, vector: [1, 0, 0], payload: { a: 1 } },
      { id: 2, vector: [0, 1, 0] },
    ];
    await store(alice, 'raw', points);
    const [hit] = await search(alice, { collection: 'raw', vector: [0.9, 0.1, 0], limit: 1 });
    expect(hit).toMatchObject({ id: 1, payload: { a: 1 } });
    expect(hit).not.toHaveProperty('text');
    const mismatch = { code: 'dimension_mismatch', retryable: false };
    const short = [{ id: 3, vector: [1, 0] }];
    expect(await failure(alice, 'vector.upsert', { collection: 'raw', points: short })).toMatchObject(mismatch);
    expect(await failure(alice, 'vector.search', { collection: 'raw', vector: [1, 0] })).toMatchObject(mismatch);
    const wrong = { code: 'invalid_input', retryable: false };
    expect(await failure(alice, 'vector.upsert', { collection: 'raw', points: NOTES })).toMatchObject(wrong);
    expect(await failure(alice, 'vector.search', { collection: 'raw', query: 'x' })).toMatchObject(wrong);
  });

  it('is not made by a first upsert that fails', async () => {
    const points = [
      { id: 1, vector: [1, 0, 0] },
      { id: 2, vector: [1, 0] },
    ];
    expect(await failure(alice, 'vector.upsert', { collection: 'mixed', points })).toMatchObject({
      code: 'dimension_mismatch',
    });
    expect(await failure(alice, 'vector.search', { collection: 'mixed', vector: [1, 0] })).toMatchObject({
      code: 'collection_not_found',
    });
  });

  it('that nobody made is not found', async () => {
    expect(await failure(alice, 'vector.search', { collection: 'nowhere', query: 'x' })).toMatchObject({
      code: 'collection_not_found',
      retryable: false,
    });
  });

  it('waits for its own model rather than take another', async () => {
    await store(alice, 'loyal');
    const [model] = world.ollama.models.splice(1, 1, { name: 'other:latest', capabilities: ['embedding'] });
    world.ollama.script = ({ body }, response) => {
      if (body.model === 'other:latest') return false;
      sendJson(response, 404, { error: `model '${body.model}' not found` });
      return true;
    };
    for (const _ of [1, 2]) {
      expect(await failure(alice, 'vector.upsert', { collection: 'loyal', points: NOTES })).toMatchObject({
        code: 'model_unavailable',
        retryable: true,
      });
    }
    world.ollama.models.splice(1, 1, model!);
  });

  it('is made again in a store that was replaced by an empty one', async () => {
    const points = [{ id: 1, vector: [1, 2, 3, 4, 5] }];
    await store(alice, 'phoenix', points);
    await new QdrantClient({ url: inject('qdrantUrl'), checkCompatibility: false }).deleteCollection(
      'sutazai_vectors_5',
    );
    expect(await store(alice, 'phoenix', points)).toMatchObject({ status: 'completed', attempt: 2 });
    expect(await search(alice, { collection: 'phoenix', vector: [1, 2, 3, 4, 5] })).toHaveLength(1);
  });
});

describe('without vector search', () => {
  it('the vector types are not there', async () => {
    const plain = await createWorld({ env: { ENABLE_VECTOR_SEARCH: 'false', WORKER_LANES: 'system' } });
    const client = await plain.client();
    const answer = await client.request('POST', '/api/v1/tasks', {
      type: 'vector.search',
      input: { collection: 'notes', query: 'x' },
    });
    expect(answer.status).toBe(422);
    expect(await client.runTask('echo', { message: 'x' })).toMatchObject({ status: 'completed' });
    await plain.close();
  });
});

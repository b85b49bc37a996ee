import { QdrantClient } from '@qdrant/js-client-rest';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { POLICIES } from '../../src/api/policy.ts';
import type { Hit } from '../../src/tasks/tools.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { expectProblem } from '../support/problem.ts';
import { type CheckedStore, startCheckedStore } from '../support/qdrant-contract.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let store: CheckedStore;
let alice: Client;
let bob: Client;
beforeAll(async () => {
  store = await startCheckedStore(inject('qdrantUrl'));
  world = await createWorld({ env: { QDRANT_URL: store.url } });
  alice = await world.client();
  bob = await world.client();
});
afterAll(async () => {
  await world.close();
  await store.close();
  // What the product asks is what Qdrant takes, and what the embedded store answers is what Qdrant would.
  expect(store.checked()).toBeGreaterThan(50);
  expect(store.problems).toEqual([]);
});
afterEach(() => {
  world.ollama.script = undefined;
});

const NOTES = [
  { id: 'tea', text: 'the kettle is in the kitchen', payload: { room: 'kitchen', floor: 0 } },
  { id: 'bed', text: 'a blanket lies on the bed', payload: { room: 'attic', floor: 2 } },
  { id: 7, text: 'tools hang in the shed', payload: { room: 'shed', floor: 0 } },
];

async function storeNotes(client: Client, collection: string, points: unknown[] = NOTES) {
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
    expect((await storeNotes(alice, 'notes')).output).toEqual({
      collection: 'notes',
      upserted: 3,
      ids: ['tea', 'bed', 7],
    });
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
    await storeNotes(alice, 'filtered');
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
    await storeNotes(alice, 'shared');
    const own = [{ id: 'mine', text: 'the kettle is in the kitchen' }];
    await storeNotes(bob, 'shared', own);
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
    await storeNotes(alice, 'second', [{ id: 'other', text: 'the kettle' }]);
    expect(ids(await search(alice, { ...query, collection: 'second' }))).toEqual(['other']);
    // And what he stores under her ids stays his.
    await storeNotes(bob, 'shared', [{ id: 'tea', text: 'overwritten' }]);
    expect((await search(alice, { ...query, limit: 1 }))[0]?.text).toBe(NOTES[0]?.text);
  });

  it('has each id once, however often it is stored', async () => {
    await storeNotes(alice, 'again');
    const moved = { id: 'tea', text: 'the kettle has moved' };
    await storeNotes(alice, 'again', [moved]);
    const input = { collection: 'again', points: [...NOTES, moved] };
    const twice = await alice.request('POST', '/api/v1/tasks', { type: 'vector.upsert', input });
    expect(expectProblem(twice, 'validation_failed').errors).toMatchObject([{ detail: 'must have each id once' }]);
    const hits = await search(alice, { collection: 'again', query: 'kettle', limit: 200 });
    expect(ids(hits)).toEqual([7, 'bed', 'tea']);
    expect(hits.find(({ id }) => id === 'tea')?.text).toBe('the kettle has moved');
  });

  it('gives points without ids the same ones in each attempt', async () => {
    const points = [{ text: 'first' }, { text: 'second' }];
    const { id, output } = await storeNotes(alice, 'unnamed', points);
    await alice.request('POST', `/api/v1/tasks/${id}/retry`);
    const second = await alice.waitForEnd(id);
    expect(second).toMatchObject({ attempt: 2, output });
    expect(await search(alice, { collection: 'unnamed', query: 'first', limit: 200 })).toHaveLength(2);
    await storeNotes(alice, 'unnamed', points);
    expect(await search(alice, { collection: 'unnamed', query: 'first', limit: 200 })).toHaveLength(4);
  });

  it('may hold vectors of one length, and then takes no texts', async () => {
    const points = [
      { id: 1, vector: [1, 0, 0], payload: { a: 1 } },
      { id: 2, vector: [0, 1, 0] },
    ];
    await storeNotes(alice, 'raw', points);
    const [hit] = await search(alice, { collection: 'raw', vector: [0.9, 0.1, 0], limit: 1 });
    expect(hit).toMatchObject({ id: 1, payload: { a: 1 } });
    expect(hit).not.toHaveProperty('text');
    const wrong = { code: 'invalid_input', retryable: false };
    expect(await failure(alice, 'vector.upsert', { collection: 'raw', points: NOTES })).toMatchObject(wrong);
    expect(await failure(alice, 'vector.search', { collection: 'raw', query: 'x' })).toMatchObject(wrong);
  });

  it('takes no vectors of another length: that is said at the door, or by the task where it was not known there', async () => {
    const of = (...lengths: number[]) => lengths.map((length) => ({ vector: Array(length).fill(1) }));
    const refusal = async (type: string, input: object) => {
      const answer = await alice.request('POST', '/api/v1/tasks', { type, input });
      return expectProblem(answer, 'validation_failed').errors?.[0];
    };
    const raw = { collection: 'raw' };
    expect(await refusal('vector.upsert', { ...raw, points: [{ text: 'x' }, ...of(2)] })).toEqual({
      pointer: '#/input/points/1/vector',
      detail: 'has 2 dimensions, but the collection raw takes vectors of 3',
    });
    expect(await refusal('vector.search', { ...raw, vector: [1] })).toMatchObject({ pointer: '#/input/vector' });
    const mixed = { collection: 'mixed', points: of(3, 2) };
    expect(await refusal('vector.upsert', mixed)).toMatchObject({ detail: 'must have vectors of one length' });
    const tasks = [2, 3].map((length) => ({
      type: 'vector.upsert',
      input: { collection: 'mixed', points: of(length, length) },
    }));
    const { body } = await alice.request<{ tasks: Array<{ id: string }> }>('POST', '/api/v1/tasks/batch', { tasks });
    const ended = await Promise.all(body.tasks.map(({ id }) => alice.waitForEnd(id)));
    expect(ended.map(({ error }) => error?.code).sort()).toEqual(['dimension_mismatch', undefined]);
  });

  it('is not made by a first upsert that fails', async () => {
    world.ollama.script = (_, response) => {
      sendJson(response, 400, { error: 'no' });
      return true;
    };
    await failure(alice, 'vector.upsert', { collection: 'unmade', points: NOTES });
    world.ollama.script = undefined;
    expect(await failure(alice, 'vector.search', { collection: 'unmade', vector: [1, 0] })).toMatchObject({
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
    await storeNotes(alice, 'loyal');
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
    await storeNotes(alice, 'phoenix', points);
    await new QdrantClient({ url: inject('qdrantUrl'), checkCompatibility: false }).deleteCollection(
      'sutazai_vectors_5',
    );
    expect(await storeNotes(alice, 'phoenix', points)).toMatchObject({ status: 'completed', attempt: 1 });
    expect(await search(alice, { collection: 'phoenix', vector: [1, 2, 3, 4, 5] })).toHaveLength(1);
  });
});

describe('without vector search', () => {
  it('neither its types nor its routes are there, which name the setting, and nobody asks how the store is', async () => {
    const plain = await createWorld({ env: { ENABLE_VECTOR_SEARCH: 'false', WORKER_LANES: 'system', DOCS: 'open' } });
    const client = await plain.client();
    const refused = await client.request('POST', '/api/v1/tasks', { type: 'vector.search', input: {} });
    expect(expectProblem(refused, 'validation_failed').errors).toMatchObject([{ pointer: '#/type' }]);
    const routes = Object.keys(POLICIES).filter((route) => route.includes('/collections'));
    expect(routes.length).toBeGreaterThan(4);
    for (const route of routes) {
      const [method = '', path = ''] = route.split(' ');
      const problem = expectProblem(await client.request(method, path.replace(/:\w+/g, 'x')), 'not_found');
      expect(problem.detail).toContain('ENABLE_VECTOR_SEARCH');
      expectProblem(await plain.anonymous.request(method, path.replace(/:\w+/g, 'x')), 'unauthorized');
    }
    const { paths } = (await client.request<{ paths: object }>('GET', '/openapi.json')).body;
    expect(Object.keys(paths).filter((path) => path.includes('collections'))).toEqual([]);
    expect(JSON.stringify((await client.request('GET', '/readyz')).body)).not.toContain('vectors');
    const types = await client.request<{ data: Array<{ name: string }> }>('GET', '/api/v1/task-types');
    expect(types.body.data.filter(({ name }) => /^(vector|document|rag)\./.test(name))).toEqual([]);
    expect(await client.runTask('echo', { message: 'x' })).toMatchObject({ status: 'completed' });
    await plain.close();
  });
});

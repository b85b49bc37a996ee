import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setUserLimits } from '../../src/db/limits.ts';
import type { Hit } from '../../src/tasks/tools.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { expectProblem } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

const PATH = '/api/v1/collections';
const MODEL = 'all-minilm:latest';

let world: World;
let alice: Client;
let bob: Client;
beforeAll(async () => {
  world = await createWorld({ env: { MAX_COLLECTIONS_PER_USER: '12' } });
  [alice, bob] = await Promise.all([world.client(), world.client()]);
});
afterAll(() => world.close());
afterEach(() => {
  world.ollama.script = undefined;
});

const make = (client: Client, body: object) => client.request('POST', PATH, body);
const search = (client: Client, name: string, body: object) =>
  client.request<{ hits: Hit[] }>('POST', `${PATH}/${name}/search`, body);
const upsert = async (client: Client, collection: string, points: object[]) => {
  const task = await client.runTask('vector.upsert', { collection, points }, { max_attempts: 1 });
  expect(task.error).toBeNull();
};
const read = async (client: Client, name: string) => (await client.request('GET', `${PATH}/${name}`)).body;

describe('a collection', () => {
  it('is made for the usual model, holds what is stored, and is counted', async () => {
    const made = await make(alice, { name: 'notes' });
    expect([made.status, made.headers.get('location')]).toEqual([201, `${world.url}${PATH}/notes`]);
    const shown = { name: 'notes', embedding_model: MODEL, dimensions: 8, distance: 'Cosine' };
    expect(made.body).toMatchObject({ ...shown, points: 0 });
    await upsert(alice, 'notes', [{ id: 'tea', text: 'the kettle', payload: { room: 'kitchen' } }, { text: 'a bed' }]);
    expect(await read(alice, 'notes')).toMatchObject({ ...shown, points: 2 });
    expectProblem(await make(alice, { name: 'notes' }), 'already_exists');
    expect((await make(bob, { name: 'notes', embedding_model: MODEL })).status).toBe(201);
    expect((await bob.request('GET', PATH)).body).toMatchObject({ data: [{ ...shown, points: 0 }], next_cursor: null });

    const first = (await alice.request('POST', PATH, { name: 'kept' }, { 'idempotency-key': 'k' })).body;
    const again = await alice.request('POST', PATH, { name: 'kept' }, { 'idempotency-key': 'k' });
    expect([again.status, again.body]).toEqual([201, first]);
  });

  it('is found by a text, a vector, a filter and a threshold, without a task', async () => {
    const hits = async (body: object) => (await search(alice, 'notes', body)).body.hits;
    const [best] = await hits({ query: 'the kettle', limit: 1 });
    expect(best).toEqual({
      id: 'tea',
      score: expect.closeTo(1, 3),
      payload: { room: 'kitchen' },
      text: 'the kettle',
    });
    expect(await hits({ query: 'the kettle' })).toHaveLength(2);
    expect(
      await hits({ query: 'a bed', filter: { must: [{ key: 'room', match: { value: 'kitchen' } }] } }),
    ).toMatchObject([{ id: 'tea' }]);
    expect(await hits({ query: 'the kettle', score_threshold: 0.999 })).toMatchObject([{ id: 'tea' }]);
    expect(await hits({ vector: Array(8).fill(1), limit: 1 })).toHaveLength(1);
    expect((await search(bob, 'notes', { query: 'the kettle' })).body).toEqual({ hits: [] });
    expectProblem(await search(bob, 'kept', { query: 'x' }), 'not_found');
  });

  it.each<[string, object, string]>([
    ['neither text nor vector', {}, '#'],
    ['both', { query: 'x', vector: [1] }, '#'],
    ['a field that is not known', { query: 'x', tenant: 'y' }, '#/tenant'],
    ['a vector of another length', { vector: [1, 2] }, '#/vector'],
    ['a filter that is none', { query: 'x', filter: { min_should: {} } }, '#/filter'],
    [
      'a filter that the store refuses',
      { query: 'x', filter: { must: [{ key: 'a', match: { value: {} } }] } },
      '#/filter',
    ],
    ['too many hits', { query: 'x', limit: 201 }, '#/limit'],
  ])('is not searched by %s', async (_, body, pointer) => {
    const { errors } = expectProblem(await search(alice, 'notes', body), 'validation_failed');
    expect(errors?.[0]?.pointer).toBe(pointer);
  });

  it('of vectors of your own making has the length of the first ones, and takes no texts', async () => {
    expect((await make(alice, { name: 'raw', embedding_model: null })).body).toMatchObject({ dimensions: null });
    expect((await search(alice, 'raw', { vector: [1] })).body).toEqual({ hits: [] });
    await upsert(alice, 'raw', [{ id: 1, vector: [1, 0, 0] }]);
    expect(await read(alice, 'raw')).toMatchObject({ embedding_model: null, dimensions: 3, points: 1 });
    const { errors } = expectProblem(await search(alice, 'raw', { query: 'x' }), 'validation_failed');
    expect(errors).toMatchObject([{ pointer: '#/query', detail: expect.stringContaining('search it by vector') }]);
    const fixed = await make(alice, { name: 'fixed', embedding_model: null, dimensions: 2 });
    expect(fixed.body).toMatchObject({ dimensions: 2 });
    // Of a kind that nobody has had yet.
    await make(alice, { name: 'empty', embedding_model: null, dimensions: 4321, distance: 'Dot' });
    expect((await search(alice, 'empty', { vector: Array(4321).fill(1) })).body).toEqual({ hits: [] });
    const longer = { type: 'vector.upsert', input: { collection: 'fixed', points: [{ vector: [1, 2, 3] }] } };
    const refused = expectProblem(await alice.request('POST', '/api/v1/tasks', longer), 'validation_failed');
    expect(refused.errors?.[0]?.detail).toContain('takes vectors of 2');
  });

  it.each<[string, Array<[number, number]>]>([
    [
      'Cosine',
      [
        [1, 1],
        [2, 0.71],
        [3, 0],
      ],
    ],
    [
      'Dot',
      [
        [2, 3],
        [1, 1],
        [3, 0],
      ],
    ],
    // A distance: the nearest is the smallest.
    [
      'Euclid',
      [
        [1, 0],
        [3, 1],
        [2, 3.61],
      ],
    ],
  ])('of the distance %s compares by it, apart from those of the others', async (distance, expected) => {
    const name = `by-${distance}`;
    expect((await make(alice, { name, embedding_model: null, distance })).body).toMatchObject({ distance });
    await upsert(alice, name, [
      { id: 1, vector: [1, 0] },
      { id: 2, vector: [3, 3] },
      { id: 3, vector: [0, 0] },
    ]);
    const { hits } = (await search(alice, name, { vector: [1, 0] })).body;
    expect(hits.map(({ id, score }) => [id, Number(score.toFixed(2))])).toEqual(expected);
  });

  it.each<[string, object, string]>([
    ['a model that is not here', { embedding_model: 'nothing' }, '#/embedding_model'],
    ['a model that makes no vectors', { embedding_model: 'tinyllama' }, '#/embedding_model'],
    ['dimensions beside a model', { dimensions: 3 }, '#/dimensions'],
    ['another distance', { distance: 'cosine' }, '#/distance'],
    ['a name with a slash', { name: 'a/b' }, '#/name'],
    ['the name of one that is being removed', { name: 'removed:x' }, '#/name'],
  ])('is not made of %s', async (_, body, pointer) => {
    const { errors } = expectProblem(await make(alice, { name: 'wrong', ...body }), 'validation_failed');
    expect(errors?.[0]?.pointer).toBe(pointer);
  });

  it('waits for nobody: where model or store is away, that is said, and what needs neither goes on', async () => {
    world.ollama.script = (_, response) => {
      sendJson(response, 500, { error: 'broken' });
      return true;
    };
    for (const answer of [await search(alice, 'notes', { query: 'x' }), await make(alice, { name: 'later' })]) {
      expectProblem(answer, 'temporary-reduced-capacity');
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    expect((await search(alice, 'notes', { vector: Array(8).fill(1) })).status).toBe(200);
    const away = await world.join('api', { QDRANT_URL: 'http://127.0.0.1:1' });
    const there = anonymousClient(away.url as string, alice.token);
    const refused = await search(there, 'notes', { vector: Array(8).fill(1) });
    expectProblem(refused, 'temporary-reduced-capacity');
    expect(refused.headers.has('retry-after')).toBe(true);
    const listed = await there.request<{ data: Array<{ name: string; points: number | null }> }>('GET', PATH);
    expect(listed.body.data.find(({ name }) => name === 'notes')).toMatchObject({ points: null });
  });

  it('of a model that the role may not use is neither made nor asked', async () => {
    const strict = await world.join('api', { MODELS_BY_ROLE: 'user:tinyllama' });
    const there = anonymousClient(strict.url as string, alice.token);
    expectProblem(await make(there, { name: 'other', embedding_model: MODEL }), 'forbidden');
    expectProblem(await search(there, 'notes', { query: 'x' }), 'forbidden');
    // There is one, so nothing has to be pulled.
    const usual = expectProblem(await make(there, { name: 'other' }), 'forbidden');
    expect(usual.detail).toContain('MODELS_BY_ROLE');
    expect((await search(there, 'notes', { vector: Array(8).fill(1) })).status).toBe(200);
  });

  it('counts the tokens of a search, and does not embed for whoever has used theirs', async () => {
    const carol = await world.client();
    await make(carol, { name: 'notes' });
    await search(carol, 'notes', { query: 'one two three' });
    const used = await world.db
      .selectFrom('token_usage')
      .select('tokens')
      .where('user_id', '=', carol.userId)
      .execute();
    expect(Number(used[0]?.tokens)).toBeGreaterThan(0);
    await world.db.transaction().execute((trx) => setUserLimits(trx, carol.userId, { tokens_per_day: 1 }));
    await expect.poll(async () => (await search(carol, 'notes', { query: 'x' })).status, { timeout: 5_000 }).toBe(429);
    expect((await search(carol, 'notes', { vector: Array(8).fill(1) })).status).toBe(200);
  });

  it('is one of so many as a user may have, by whatever way it is made', async () => {
    const dave = await world.client();
    const names = Array.from({ length: 14 }, (_, n) => ({ name: `c${n}`, embedding_model: null }));
    const answers = await Promise.all(names.map((body) => make(dave, body)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(12);
    for (const answer of answers.filter(({ status }) => status !== 201)) expectProblem(answer, 'limit_reached');
    const task = await dave.runTask('vector.upsert', { collection: 'more', points: [{ vector: [1] }] });
    expect(task.error).toMatchObject({ code: 'limit_reached', retryable: false });
    const left = answers.findIndex(({ status }) => status === 201);
    expect((await dave.request('DELETE', `${PATH}/c${left}`)).status).toBe(204);
    await upsert(dave, 'more', [{ vector: [1] }]);
    const page = (await dave.request<{ data: object[]; next_cursor: string }>('GET', `${PATH}?limit=10`)).body;
    const rest = (await dave.request<{ data: object[] }>('GET', `${PATH}?limit=10&cursor=${page.next_cursor}`)).body;
    expect([page.data.length, rest.data.length]).toEqual([10, 2]);
  });

  it('that is deleted just before the task of a document is stored is not made again by it', async () => {
    const erin = await world.client();
    await make(erin, { name: 'gone' });
    // They are counted between the look at the collection and the storing of the task.
    const counts = sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()
      and query like 'select (select count(*) from documents%'`;
    const posting = await world.db.transaction().execute(async (trx) => {
      await sql`lock table documents in access exclusive mode`.execute(trx);
      const answer = erin.request<{ id: string }>('POST', `${PATH}/gone/documents`, { text: 'The gate is shut.' });
      await until('it counts', async () => (await counts.execute(world.db)).rows.length > 0);
      expect((await erin.request('DELETE', `${PATH}/gone`)).status).toBe(204);
      return { answer };
    });
    const { body } = await posting.answer;
    expect((await erin.waitForEnd(body.id)).error).toMatchObject({ code: 'collection_not_found', retryable: false });
    expect((await erin.request('GET', `${PATH}/gone`)).status).toBe(404);
  });

  it('loses points by ids and by a filter, and no others', async () => {
    const points = [1, 2, 3, 4].map((id) => ({ id, vector: [id, 1], payload: { even: id % 2 === 0 } }));
    await upsert(bob, 'fewer', points);
    const remove = async (choice: object) =>
      (await bob.runTask('vector.delete', { collection: 'fewer', ...choice }, { max_attempts: 1 })) as {
        output: unknown;
        error: unknown;
      };
    expect((await remove({ ids: [1, 'x', '2'] })).output).toEqual({ collection: 'fewer', deleted: 1 });
    const even = { must: [{ key: 'even', match: { value: true } }] };
    expect((await remove({ filter: even })).output).toEqual({ collection: 'fewer', deleted: 2 });
    expect((await remove({ filter: even })).output).toEqual({ collection: 'fewer', deleted: 0 });
    expect((await remove({ filter: { all: true } })).error).toMatchObject({ code: 'invalid_input' });
    expect((await search(bob, 'fewer', { vector: [1, 1] })).body.hits.map(({ id }) => id)).toEqual([3]);
  });
});

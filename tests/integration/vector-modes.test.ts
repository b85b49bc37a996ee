import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Hit } from '../../src/tasks/tools.ts';
import { storeDocument } from '../support/library.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let alice: Client;
let bob: Client;
let shed: string;
beforeAll(async () => {
  world = await createWorld({ env: { WORKER_LANES: 'vector' } });
  alice = await world.client();
  bob = await world.client();
  shed = await storeDocument(world, alice, {
    ...{ collection: 'home', title: 'The shed' },
    chunks: [
      { heading: 'Shed', text: 'Spades and rakes hang on the wall.', metadata: { floor: 0 } },
      { heading: 'Shed', text: 'The code of the padlock is XK-4711.', metadata: { floor: 1 } },
      { heading: 'Attic', text: 'Blankets and old letters.', metadata: { floor: 2 } },
    ],
  });
  await alice.runTask('vector.upsert', {
    collection: 'home',
    points: [{ id: 'note', text: 'padlock code, no document' }],
  });
  const chunks = [{ text: 'The code of the padlock of bob is XK-4711.' }];
  await storeDocument(world, bob, { collection: 'home', title: 'Of Bob', chunks });
});
afterAll(() => world.close());

async function search(body: object, client = alice): Promise<Hit[]> {
  const answer = await client.request<{ hits: Hit[] }>('POST', '/api/v1/collections/home/search', body);
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return answer.body.hits;
}
const chunksOf = (hits: Hit[]) => hits.map(({ payload }) => payload.chunk);

it('by words finds the chunks of own documents that have them, asks no model, and says their places', async () => {
  world.ollama.calls.length = 0;
  const hits = await search({ query: 'Which spade fits the padlock XK 4711?', mode: 'text' });
  expect(hits.map(({ payload, ranks }) => [payload.document_id, payload.chunk, ranks])).toEqual([
    [shed, 1, { vector: null, text: 1 }],
    [shed, 0, { vector: null, text: 2 }],
  ]);
  expect(hits[0]?.score).toBeGreaterThan(hits[1]?.score ?? 0);
  expect(hits[0]).toMatchObject({ text: 'The code of the padlock is XK-4711.', payload: { title: 'The shed' } });
  expect(world.ollama.calls).toEqual([]);
  expect(chunksOf(await search({ query: 'rakes blankets padlock', mode: 'text', limit: 2 }))).toHaveLength(2);
  expect(await search({ query: 'zebra', mode: 'text' })).toEqual([]);
});

it('by both has what either finds, each with its places, the sum of the reciprocal ranks as its score, and other parts of a document first', async () => {
  const hits = await search({ query: 'code padlock', mode: 'hybrid' });
  const byVector = await search({ query: 'code padlock' });
  expect(byVector[0]).not.toHaveProperty('ranks');
  const places = new Map(byVector.map(({ id }, index) => [id, index + 1]));
  expect(hits).toHaveLength(4);
  for (const { id, payload, ranks, score } of hits) {
    expect(ranks).toEqual({ vector: places.get(id), text: payload.chunk === 1 ? 1 : null });
    const part = (rank: number | null | undefined, weight: number) => (rank ? weight / (10 + rank) : 0);
    const sum = part(ranks?.vector, 1) + part(ranks?.text, 0.7);
    // A better one is of the same part.
    expect(score).toBeCloseTo(payload.chunk === 0 ? sum / 2 : sum, 10);
  }
  expect(hits[0]?.payload.chunk).toBe(1);
});

it('keeps to the filter and to the threshold, whichever of the two found it', async () => {
  const filter = { must: [{ key: 'floor', match: { any: [0, 2] } }] };
  for (const mode of ['text', 'hybrid'])
    expect(chunksOf(await search({ query: 'padlock rakes blankets', mode, filter })).sort()).toEqual([0, 2]);
  expect(await search({ query: 'padlock', mode: 'hybrid', score_threshold: 0.9999 })).toEqual([]);
  const foreign = { should: [{ key: 'tenant', match: { value: bob.userId } }] };
  expect(await search({ query: 'padlock', mode: 'text', filter: foreign })).toEqual([]);
});

it('shows nothing of somebody else, and of a document no longer than it is there', async () => {
  const texts = (hits: Hit[]) => hits.map(({ text }) => text);
  for (const mode of ['text', 'hybrid'])
    expect(texts(await search({ query: 'padlock', mode }, bob))).toEqual([
      'The code of the padlock of bob is XK-4711.',
    ]);
  const hide = (status: 'deleting' | 'ready') =>
    world.db.updateTable('documents').set({ status }).where('id', '=', shed).execute();
  await hide('deleting');
  expect(await search({ query: 'padlock', mode: 'text' })).toEqual([]);
  await hide('ready');
  expect(await search({ query: 'padlock', mode: 'text' })).toHaveLength(1);
});

it('finds as the task type what it finds as the route, and both refuse what a mode does not look at', async () => {
  const query = { query: 'code of the padlock', mode: 'hybrid', limit: 2 };
  const task = await alice.runTask('vector.search', { collection: 'home', ...query });
  expect(task.output).toEqual({ hits: await search(query) });
  for (const wrong of [
    { mode: 'text', vector: [1, 0, 0, 0, 0, 0, 0, 0] },
    { mode: 'hybrid', vector: [1, 0, 0, 0, 0, 0, 0, 0] },
    { mode: 'text', query: 'x', score_threshold: 0.5 },
    { mode: 'words', query: 'x' },
  ]) {
    expect((await alice.request('POST', '/api/v1/collections/home/search', wrong)).status).toBe(422);
    const input = { collection: 'home', ...wrong };
    expect((await alice.request('POST', '/api/v1/tasks', { type: 'vector.search', input })).status).toBe(422);
  }
});

it('finds what was ingested, by both, with the headings that it stands under', async () => {
  const text =
    '# The kettle\n\nFill it.\n\n## Descaling\n\nOnce a month, with citric acid.\n\n## Guarantee\n\nThree years.';
  const input = { collection: 'manuals', text, content_type: 'text/markdown' };
  const { output } = await alice.runTask('document.ingest', input);
  const query = { collection: 'manuals', query: 'descale with acid', mode: 'hybrid', limit: 1 };
  const task = await alice.runTask('vector.search', query);
  const [hit] = (task.output as { hits: Hit[] }).hits;
  const { document_id } = output as { document_id: string };
  expect(hit?.payload).toMatchObject({ document_id, title: 'The kettle', heading: 'The kettle > Descaling' });
  expect(hit?.ranks?.text).toBe(1);
});

import { QdrantClient } from '@qdrant/js-client-rest';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { piecesOf } from '../../src/documents/pieces.ts';
import type { Hit } from '../../src/tasks/tools.ts';
import { documentsOf, pointsOf } from '../support/ingest.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let alice: Client;
beforeAll(async () => {
  world = await createWorld();
  alice = await world.client();
});
afterAll(() => world.close());
const { ingest, search } = documentsOf(() => alice);

const THINGS = ['kettle', 'padlock', 'lantern', 'compass', 'hammock', 'whistle', 'saucepan', 'candle'];
const said = (thing: string) => `The ${thing} hangs on the second hook in the shed behind the house. `;
/** One chunk of several pieces. */
const LONG = THINGS.map(said).join('');
const TEXT = `# The shed\n\n${LONG}\n\n## The key\n\nIt lies below the doormat.`;
const PIECES = piecesOf(LONG.trim()).length;

it('a long chunk is found by each of its pieces, and counts once, with all of its text', async () => {
  const done = await ingest({ collection: 'shed', text: TEXT, content_type: 'text/markdown' });
  expect(done.chunks).toBe(2);
  expect(PIECES).toBeGreaterThan(2);
  expect(await pointsOf(done.document_id)).toBe(PIECES + 1);
  expect((await alice.request('GET', '/api/v1/collections/shed')).body).toMatchObject({ points: 2 });
  const texts = [LONG.trim(), 'It lies below the doormat.'];
  for (const thing of THINGS)
    for (const mode of ['vector', 'hybrid']) {
      const hits = await search('shed', said(thing), { mode });
      expect(hits.map(({ text }) => text).sort()).toEqual([...texts].sort());
      expect(hits[0]?.text).toBe(texts[0]);
    }
  expect((await search('shed', 'whistle', { mode: 'text' })).map(({ text }) => text)).toEqual([texts[0]]);
  expect((await search('shed', said('candle'), { limit: 1 })).map(({ text }) => text)).toEqual([texts[0]]);
});

it('a filter by the id of a chunk means all its points', async () => {
  const hits = await search('shed', said('candle'));
  const [long, short] = hits as [Hit, Hit];
  const only = await search('shed', said('candle'), { filter: { must: { has_id: [long.id] } } });
  expect(only).toEqual([long]);
  expect(await search('shed', said('candle'), { filter: { must_not: { has_id: [long.id] } } })).toEqual([short]);
});

it('a document from before chunks had pieces goes on being found, and gets them when the same content comes again', async () => {
  const input = { collection: 'old', text: TEXT, content_type: 'text/markdown' };
  const done = await ingest(input);
  // As it was then: one point for each chunk, and nobody counted them.
  const qdrant = new QdrantClient({ url: inject('qdrantUrl'), checkCompatibility: false });
  const mine = { key: 'document', match: { value: done.document_id } };
  const filter = { must: [mine], must_not: [{ is_empty: { key: 'piece' } }] };
  for (const { name } of (await qdrant.getCollections()).collections)
    await qdrant.delete(name, { filter, wait: true }).catch(() => {});
  const row = () => world.db.updateTable('documents').where('id', '=', done.document_id);
  await row().set({ points: null }).execute();
  expect(await pointsOf(done.document_id)).toBe(2);
  expect(await search('old', said('lantern'))).toHaveLength(2);
  expect(await ingest(input)).toEqual({ ...done, outcome: 'unchanged' });
  expect(await pointsOf(done.document_id)).toBe(PIECES + 1);
  const calls = world.ollama.calls.length;
  await ingest(input);
  expect(world.ollama.calls).toHaveLength(calls);
});

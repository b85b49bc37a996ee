import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import type { Hit, Ingested } from '../../src/tasks/tools.ts';
import { embedding } from '../support/fake-ollama.ts';
import { documentsOf, losePoints, manual, pointsOf } from '../support/ingest.ts';
import { expectProblem } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let alice: Client;
beforeAll(async () => {
  world = await createWorld();
  alice = await world.client();
});
afterAll(() => world.close());
afterEach(() => {
  world.ollama.script = undefined;
  world.ollama.contextWords = Number.POSITIVE_INFINITY;
});
const { ingest, search } = documentsOf(() => alice);

describe('a document', () => {
  it('is cut into chunks that are found with their headings, metadata and place', async () => {
    const text = '# The kettle\n\nFill it with water.\n\n## Descaling\n\nBoil vinegar in it once a month.';
    const done = await ingest({ collection: 'manuals', text, content_type: 'text/markdown', metadata: { floor: 1 } });
    expect(done).toMatchObject({ outcome: 'stored', chunks: 2, title: 'The kettle', content_type: 'text/markdown' });
    const [first] = await search('manuals', 'Boil vinegar in it once a month.');
    expect(first).toMatchObject({
      text: 'Boil vinegar in it once a month.',
      payload: { document_id: done.document_id, chunk: 1, heading: 'The kettle > Descaling', floor: 1 },
    });
    expect(await search('manuals', 'water', { filter: { must: [{ key: 'floor', match: { value: 2 } }] } })).toEqual([]);
    expect(await pointsOf(done.document_id)).toBe(2);
  });

  it('is one document when the same content comes twice, and gets the metadata of the last time', async () => {
    const input = { collection: 'twice', text: 'One and the same.' };
    const first = await ingest(input);
    const before = world.ollama.calls.length;
    expect(await ingest(input)).toEqual({ ...first, outcome: 'unchanged' });
    expect(world.ollama.calls).toHaveLength(before);
    const named = await ingest({ ...input, title: 'Named', metadata: { room: 'attic' } });
    expect(named).toEqual({ ...first, title: 'Named', outcome: 'unchanged' });
    const hits = await search('twice', 'same');
    expect(hits.map(({ payload }) => payload)).toEqual([
      { document_id: first.document_id, chunk: 0, heading: '', title: 'Named', room: 'attic' },
    ]);
  });

  it('is made whole again where the store lost some of it, when it comes again', async () => {
    const input = { collection: 'lost', text: manual('wheel'), content_type: 'text/markdown' };
    const first = await ingest(input);
    await losePoints(first.document_id);
    expect(await pointsOf(first.document_id)).toBe(0);
    expect(await ingest(input)).toEqual({ ...first, outcome: 'unchanged' });
    expect(await pointsOf(first.document_id)).toBe(3);
  });

  it('keeps its chunks, whatever points are deleted and written', async () => {
    const done = await ingest({ collection: 'kept', text: manual('wheel'), content_type: 'text/markdown' });
    await alice.runTask('vector.upsert', { collection: 'kept', points: [{ id: 'own', text: 'a wheel' }] });
    const hits = await search('kept', 'wheel');
    const ids = hits.map(({ id }) => id);
    for (const choice of [
      { ids: ids.filter((id) => id !== 'own') },
      { filter: { must: { has_id: ids } } },
      { all: true },
    ]) {
      const { output } = await alice.runTask('vector.delete', { collection: 'kept', ...choice });
      expect(output).toMatchObject({ deleted: 'filter' in choice ? 1 : 0 });
    }
    const points = [{ id: ids.find((id) => id !== 'own'), text: 'something else' }];
    const written = await alice.runTask('vector.upsert', { collection: 'kept', points }, { max_attempts: 1 });
    expect(written.error).toMatchObject({ code: 'invalid_input', message: expect.stringContaining('chunk') });
    expect(await pointsOf(done.document_id)).toBe(3);
  });

  it('is read from a file of POST /v1/files, by the id that it has there and by that of the file alone', async () => {
    const form = new FormData();
    form.append('purpose', 'user_data');
    form.append('file', new Blob(['The green gate.']), 'gate.txt');
    const headers = { authorization: `Bearer ${alice.token}` };
    const { id } = (await (await fetch(`${world.url}/v1/files`, { method: 'POST', headers, body: form })).json()) as {
      id: string;
    };
    expect(id).toMatch(/^file-/);
    for (const [file_id, outcome] of [
      [id, 'stored'],
      [id.replace('file-', ''), 'unchanged'],
    ])
      expect((await alice.runTask('document.ingest', { collection: 'gates', file_id })).output).toMatchObject({
        outcome,
      });
    await fetch(`${world.url}/v1/files/${id}`, { method: 'DELETE', headers });
  });

  it('stands in the place of the one that had its title, whole', async () => {
    const old = await ingest({
      collection: 'books',
      title: 'Guide',
      text: manual('old wheel'),
      content_type: 'text/markdown',
    });
    const other = await ingest({ collection: 'books', title: 'Other', text: 'Something else.' });
    const done = await ingest({
      collection: 'books',
      title: 'Guide',
      text: manual('new wheel', 2),
      content_type: 'text/markdown',
    });
    expect(done).toMatchObject({ outcome: 'replaced', chunks: 2 });
    const found = (await search('books', 'wheel')).map(({ payload }) => payload.document_id);
    expect(found.sort()).toEqual([other.document_id, done.document_id, done.document_id].sort());
    expect(await pointsOf(old.document_id)).toBe(0);
  });

  it('cannot be found while it is not whole, and says how far it is', async () => {
    await ingest({ collection: 'half', title: 'Guide', text: 'The old wheel.' });
    let batches = 0;
    const { promise: hold, resolve: go } = Promise.withResolvers<void>();
    world.ollama.script = async ({ path }) => {
      if (path === '/api/embed' && ++batches === 2) await hold;
      return false;
    };
    const text = manual('new wheel', 100);
    const { id } = await alice.submit('document.ingest', {
      collection: 'half',
      title: 'Guide',
      text,
      content_type: 'text/markdown',
    });
    await until('the first batch is stored', async () => {
      const { body } = await alice.request<PresentedTask>('GET', `/api/v1/tasks/${id}`);
      return body.progress?.message === '32 of 100 chunks';
    });
    world.ollama.script = undefined;
    // By a vector, because what is embedded waits for the call that hangs.
    const input = { collection: 'half', vector: embedding('wheel'), limit: 200 };
    const found = await alice.runTask('vector.search', input);
    expect((found.output as { hits: Hit[] }).hits.map((hit) => hit.text)).toEqual(['The old wheel.']);
    go();
    expect((await alice.waitForEnd(id)).output).toMatchObject({ outcome: 'replaced', chunks: 100 });
    const hits = await search('half', 'wheel', { limit: 200 });
    expect(hits).toHaveLength(100);
  });

  it('goes on where an attempt failed, and reads and embeds nothing twice', async () => {
    let batches = 0;
    // Without the one text by which each attempt asks for the model.
    const isBatch = ({ path, body }: { path: string; body: Record<string, unknown> }) =>
      path === '/api/embed' && (body.input as string[]).length > 1;
    world.ollama.script = (call, response) => {
      if (!isBatch(call) || ++batches !== 2) return false;
      response.destroy();
      return true;
    };
    const task = await alice.runTask('document.ingest', {
      collection: 'resumed',
      text: manual('wheel', 75),
      content_type: 'text/markdown',
    });
    expect(task).toMatchObject({ status: 'completed', attempt: 2, failures: 1, error: null });
    const given = world.ollama.calls.filter(isBatch).slice(-4);
    // The first ones, those that were lost, the same again, and the rest.
    expect(given.map(({ body }) => (body.input as string[]).length)).toEqual([32, 32, 32, 11]);
    expect(given[2]?.body.input).toEqual(given[1]?.body.input);
    expect(await pointsOf((task.output as Ingested).document_id)).toBe(75);
  });

  it('is embedded in halves where the model has no room for a chunk', async () => {
    world.ollama.contextWords = 20;
    const text = `${'word '.repeat(70).trim()}.`;
    const done = await ingest({ collection: 'narrow', text });
    expect(done.chunks).toBe(1);
    expect(await search('narrow', 'word word')).toHaveLength(1);
  });
});

describe('a collection', () => {
  it('is emptied when that is said, not by a filter that says nothing', async () => {
    const points = ['tea', 'bed', 7].map((id) => ({ id, text: `what ${id} is` }));
    await alice.runTask('vector.upsert', { collection: 'full', points });
    const remove = (choice: object) =>
      alice.runTask('vector.delete', { collection: 'full', ...choice }, { max_attempts: 1 });
    for (const filter of [{}, { must: [] }, { must: [{ should: [] }], must_not: {} }]) {
      const input = { collection: 'full', filter };
      const answer = await alice.request('POST', '/api/v1/tasks', { type: 'vector.delete', input });
      expect(expectProblem(answer, 'validation_failed').errors).toMatchObject([
        { pointer: '#/input/filter', detail: expect.stringContaining('"all": true') },
      ]);
    }
    for (const choice of [{}, { ids: ['tea'], all: true }, { all: false }]) {
      const input = { collection: 'full', ...choice };
      expectProblem(
        await alice.request('POST', '/api/v1/tasks', { type: 'vector.delete', input }),
        'validation_failed',
      );
    }
    expect((await remove({ filter: { must: { has_id: ['tea'] } } })).output).toMatchObject({ deleted: 1 });
    expect((await remove({ all: true })).output).toMatchObject({ deleted: 2 });
  });
});

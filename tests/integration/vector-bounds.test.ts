import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import type { Hit } from '../../src/tasks/tools.ts';
import { embedding, sendJson } from '../support/fake-ollama.ts';
import { documentsOf, manual, pointsOf } from '../support/ingest.ts';
import { expectProblem } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let alice: Client;
beforeAll(async () => {
  world = await createWorld({ env: { MAX_DOCUMENTS_PER_USER: '2', MAX_POINTS_PER_USER: '60' } });
  alice = await world.client();
});
afterAll(() => world.close());
afterEach(() => {
  world.ollama.script = undefined;
});
interface Listed {
  id: string;
  chunks_embedded: number;
}
const { ingest, failure } = documentsOf(() => alice);

describe('documents beyond what a user may have', () => {
  const DOCUMENTS = '/api/v1/collections/shelf/documents';

  it('are refused at the door, and by the task that gets there; what replaces one is not', async () => {
    for (const n of [1, 2]) await ingest({ collection: 'shelf', title: `Page ${n}`, text: `The door ${n}.` });
    const { detail } = expectProblem(await alice.request('POST', DOCUMENTS, { text: 'One more.' }), 'limit_reached');
    expect(detail).toMatch(/^You have 2 documents, which is the most \(MAX_DOCUMENTS_PER_USER\)/);
    const form = new FormData();
    form.append('file', new Blob(['One more.']), 'more.txt');
    const headers = { authorization: `Bearer ${alice.token}` };
    expect((await fetch(world.url + DOCUMENTS, { method: 'POST', headers, body: form })).status).toBe(409);
    expect(await world.db.selectFrom('files').select('id').execute()).toEqual([]);
    expect(await failure({ collection: 'shelf', text: 'One more.' })).toMatchObject({
      ...{ code: 'limit_reached', retryable: false },
      message: expect.stringContaining('MAX_DOCUMENTS_PER_USER'),
    });

    const same = await ingest({ collection: 'shelf', title: 'Page 1', text: 'The door 1.' });
    expect(same.outcome).toBe('unchanged');
    const again = { title: 'Page 1', text: 'The gate 1.' };
    const replaced = await alice.request('POST', DOCUMENTS, again, { prefer: 'wait=20' });
    expect([replaced.status, replaced.headers.get('preference-applied')]).toEqual([200, 'wait=20']);
    expect(replaced.body).toMatchObject({ status: 'completed', output: { outcome: 'replaced' } });

    const gone = (replaced.body as { output: { document_id: string } }).output.document_id;
    expect((await alice.request('DELETE', `${DOCUMENTS}/${gone}`)).status).toBe(204);
    const answers = await Promise.all(
      ['a', 'b', 'c'].map((text) => alice.request<{ id: string }>('POST', DOCUMENTS, { text: `The sill ${text}.` })),
    );
    const ends = await Promise.all(answers.map(({ body }) => alice.waitForEnd(body.id)));
    expect(ends.map(({ status }) => status).sort()).toEqual(['completed', 'failed', 'failed']);
    expectProblem(await (await world.client()).request('POST', DOCUMENTS, { text: 'x' }), 'not_found');
  });
});

describe('a document', () => {
  const DOCUMENTS = '/api/v1/collections/yard/documents';
  let bob: Client;
  beforeAll(async () => {
    bob = await world.client();
    await bob.request('POST', '/api/v1/collections', { name: 'yard' });
  });

  it('whose task is cancelled says so and nothing else, and is gone on with when it comes again', async () => {
    const { promise: hold, resolve: go } = Promise.withResolvers<void>();
    let batches = 0;
    world.ollama.script = async ({ path, body }, response) => {
      // Beside the one text by which an attempt asks for the model.
      if (path !== '/api/embed' || (body.input as string[]).length === 1 || ++batches === 1) return false;
      await hold;
      sendJson(response, 500, { error: 'runner has terminated' });
      return true;
    };
    const given = { text: manual('blue gate', 50), content_type: 'text/markdown' };
    const { body } = await bob.request<{ id: string }>('POST', DOCUMENTS, given);
    const listed = async () => (await bob.request<{ data: Listed[] }>('GET', DOCUMENTS)).body.data;
    await until('the first batch is stored', async () => (await listed())[0]?.chunks_embedded === 32);
    const id = (await listed())[0]?.id as string;
    go();
    const taskOf = async () => (await bob.request<PresentedTask>('GET', `/api/v1/tasks/${body.id}`)).body;
    await until('an attempt has failed', async () => (await taskOf()).error !== null);
    await bob.request('POST', `/api/v1/tasks/${body.id}/cancel`);
    // What an earlier attempt met is not why it ended.
    expect(await bob.waitForEnd(body.id)).toMatchObject({ status: 'cancelled', error: null });
    const read = await bob.request('GET', `${DOCUMENTS}/${id}`);
    expect(read.body).toMatchObject({ status: 'failed', chunks: 50, error: { code: 'cancelled', retryable: true } });
    world.ollama.script = undefined;
    const again = await bob.request('POST', DOCUMENTS, given, { prefer: 'wait=30' });
    expect(again.body).toMatchObject({ status: 'completed', output: { document_id: id, outcome: 'stored' } });
    expect((await bob.request('GET', `${DOCUMENTS}/${id}`)).body).toMatchObject({ status: 'ready', error: null });
  });

  it('comes as a file and is waited for where that is asked for', async () => {
    const form = new FormData();
    form.append('file', new Blob(['The brown gate.']), 'gate.txt');
    const headers = { authorization: `Bearer ${bob.token}`, prefer: 'wait=20' };
    const answer = await fetch(world.url + DOCUMENTS, { method: 'POST', headers, body: form });
    expect([answer.status, answer.headers.get('preference-applied')]).toEqual([200, 'wait=20']);
    expect(await answer.json()).toMatchObject({ status: 'completed', output: { outcome: 'stored' } });
  });
});

describe('points beyond what a user may have', () => {
  const upsert = (ids: number[]) => {
    const points = ids.map((id) => ({ id, text: `point ${id}` }));
    return alice.runTask('vector.upsert', { collection: 'points', points }, { max_attempts: 1 });
  };

  it('are refused before one of them is stored; those that are there may be written again', async () => {
    const ids = Array.from({ length: 58 }, (_, n) => n);
    expect((await upsert(ids)).error).toBeNull();
    for (let n = 0; n < 3; n++) expect((await upsert(ids)).error).toBeNull();
    const { error } = await upsert([57, 58]);
    expect(error).toMatchObject({ code: 'limit_reached', message: expect.stringContaining('MAX_POINTS_PER_USER') });
    expect((await alice.request('GET', '/api/v1/collections/points')).body).toMatchObject({ points: 58 });
    // Of a document too, before one of its chunks is embedded.
    await alice.request('DELETE', DOCUMENT_OF_ALICE(await documents()));
    const text = '# One\n\nThe first.\n\n# Two\n\nThe second.\n';
    const refused = await failure({ collection: 'shelf', text, content_type: 'text/markdown' });
    expect(refused).toMatchObject({ code: 'limit_reached', message: expect.stringContaining('You have 59 points') });
    const id = (await documents())[0]?.id as string;
    expect(await pointsOf(id)).toBe(0);
  });

  const documents = async () =>
    (await alice.request<{ data: Array<{ id: string }> }>('GET', '/api/v1/collections/shelf/documents')).body.data;
  const DOCUMENT_OF_ALICE = ([one]: Array<{ id: string }>) => `/api/v1/collections/shelf/documents/${one?.id}`;
});

describe('a collection whose embedding model is another one now', () => {
  const NAME = 'moved';
  const search = (body: object) =>
    alice.request<{ hits: Hit[] }>('POST', `/api/v1/collections/${NAME}/search`, { query: 'the kettle', ...body });
  const upsert = (id: string) =>
    alice.runTask('vector.upsert', { collection: NAME, points: [{ id, text: 'the kettle' }] }, { max_attempts: 1 });
  const digest = async () => (await alice.request('GET', `/api/v1/collections/${NAME}`)).body.model_digest;
  /** Another model under the old name, which the hosts are asked for anew. */
  async function become(digest: string): Promise<void> {
    const model = world.ollama.models.find(({ name }) => name === 'all-minilm:latest');
    if (model) model.digest = digest;
    await alice.request('GET', '/api/v1/models/none');
  }

  it('goes on where it makes the same vectors, and is neither written nor searched where it does not', async () => {
    alice = await world.client();
    await become('sha256:first');
    expect((await alice.request('POST', '/api/v1/collections', { name: NAME })).body.model_digest).toBeNull();
    expect((await upsert('tea')).error).toBeNull();
    expect(await digest()).toBe('sha256:first');
    await become('sha256:second');
    expect((await search({})).body.hits).toHaveLength(1);
    expect(await digest()).toBe('sha256:second');

    // Other weights make other vectors.
    world.ollama.script = ({ path, body }, response) => {
      if (path !== '/api/embed') return false;
      const embeddings = ([body.input].flat() as string[]).map((text) => embedding(text).reverse());
      sendJson(response, 200, { model: body.model, embeddings, prompt_eval_count: 1 });
      return true;
    };
    await become('sha256:third');
    const { detail } = expectProblem(await search({}), 'model_changed');
    expect(detail).toMatch(/digest second\. The hosts now have another model of that name, third, whose vectors/);
    expect((await upsert('late')).error).toMatchObject({ code: 'model_changed', retryable: false });
    expect(await failure({ collection: NAME, text: 'A page.' })).toMatchObject({ code: 'model_changed' });
    expect((await search({ mode: 'text' })).status).toBe(200);
    expect(await digest()).toBe('sha256:second');

    world.ollama.script = undefined;
    await become('sha256:second');
    expect((await search({})).body.hits.map(({ id }) => id)).toEqual(['tea']);
  });
});

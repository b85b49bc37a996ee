import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { manual } from '../support/ingest.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let alice: Client;
beforeAll(async () => {
  world = await createWorld();
  alice = await world.client();
  await alice.request('POST', '/api/v1/collections', { name: 'shelf' });
});
afterAll(() => world.close());
afterEach(() => {
  world.ollama.script = undefined;
});
const DOCUMENTS = '/api/v1/collections/shelf/documents';

describe('documents', () => {
  /** A document of which a third is stored, and no more until it may go on. */
  async function begun(words: string) {
    const { promise: hold, resolve: go } = Promise.withResolvers<void>();
    let batches = 0;
    world.ollama.script = async ({ path }) => {
      if (path === '/api/embed' && ++batches === 2) await hold;
      return false;
    };
    const given = { text: manual(words, 100), content_type: 'text/markdown' };
    const { body } = await alice.request<{ id: string }>('POST', DOCUMENTS, given);
    const rowOf = () => world.db.selectFrom('documents').selectAll().where('task_id', '=', body.id).executeTakeFirst();
    await until('the first batch is stored', async () => (await rowOf())?.embedded === 32);
    return { given, body, go, id: (await rowOf())?.id as string };
  }

  it('whose task is cancelled say so and nothing else, and are gone on with when they come again', async () => {
    const { given, body, go, id } = await begun('blue gate');
    world.ollama.script = ({ path }, response) => {
      if (path === '/api/embed') sendJson(response, 500, { error: 'runner has terminated' });
      return path === '/api/embed';
    };
    go();
    const taskOf = async () => (await alice.request<PresentedTask>('GET', `/api/v1/tasks/${body.id}`)).body;
    await until('an attempt has failed', async () => (await taskOf()).error !== null);
    await alice.request('POST', `/api/v1/tasks/${body.id}/cancel`);
    // What an earlier attempt met is not why it ended.
    expect((await alice.waitForEnd(body.id)).status).toBe('cancelled');
    const read = await alice.request('GET', `${DOCUMENTS}/${id}`);
    expect(read.body).toMatchObject({ status: 'failed', chunks: 100, error: { code: 'cancelled', retryable: true } });
    world.ollama.script = undefined;
    const again = await alice.request('POST', DOCUMENTS, given, { prefer: 'wait=30' });
    expect(again.body).toMatchObject({ status: 'completed', output: { document_id: id, outcome: 'stored' } });
    expect((await alice.request('GET', `${DOCUMENTS}/${id}`)).body).toMatchObject({ status: 'ready', error: null });
  });

  it('come as files and are waited for where that is asked for', async () => {
    const form = new FormData();
    form.append('file', new Blob(['The brown gate.']), 'gate.txt');
    const headers = { authorization: `Bearer ${alice.token}`, prefer: 'wait=20' };
    const answer = await fetch(world.url + DOCUMENTS, { method: 'POST', headers, body: form });
    expect([answer.status, answer.headers.get('preference-applied')]).toEqual([200, 'wait=20']);
    expect(await answer.json()).toMatchObject({ status: 'completed', output: { outcome: 'stored' } });
  });
});

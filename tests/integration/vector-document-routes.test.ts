import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Ingested } from '../../src/tasks/tools.ts';
import { documentsOf, manual, pointsOf } from '../support/ingest.ts';
import { makePdf } from '../support/pdf.ts';
import { startScriptedHttp } from '../support/scripted-http.ts';
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
});
const { ingest, search, failure } = documentsOf(() => alice);

const FROM_HALL = { must: [{ key: 'room', match: { value: 'hall' } }] };

describe('the documents of a collection', () => {
  const DOCUMENTS = '/api/v1/collections/shelf/documents';
  async function wait(answer: { status: number; body: { id: string } }): Promise<Ingested> {
    expect(answer.status, JSON.stringify(answer.body)).toBe(202);
    const task = await alice.waitForEnd(answer.body.id);
    expect(task.error).toBeNull();
    return task.output as Ingested;
  }
  async function upload(content: string | Buffer<ArrayBuffer>, name: string, key?: string, room = 'hall') {
    const form = new FormData();
    form.append('metadata', JSON.stringify({ room }));
    form.append('file', new Blob([content]), name);
    const headers = { authorization: `Bearer ${alice.token}`, ...(key && { 'idempotency-key': key }) };
    const answer = await fetch(world.url + DOCUMENTS, { method: 'POST', headers, body: form });
    const body = (await answer.json()) as { id: string; input: { file_id: string } };
    return { status: answer.status, headers: answer.headers, body };
  }
  beforeAll(async () => {
    await alice.request('POST', '/api/v1/collections', { name: 'shelf' });
  });

  it('come as text, are listed, read, deleted and gone, and are those of nobody else', async () => {
    const done = await wait(await alice.request('POST', DOCUMENTS, { text: 'The red door.', title: 'Doors' }));
    const path = `${DOCUMENTS}/${done.document_id}`;
    const read = await alice.request('GET', path);
    expect(read.body).toMatchObject({
      title: 'Doors',
      status: 'ready',
      chunks: 1,
      chunks_embedded: 1,
      bytes: 13,
      error: null,
    });
    expect((await alice.request('GET', DOCUMENTS)).body).toEqual({ data: [read.body], next_cursor: null });
    const bob = await world.client();
    for (const method of ['GET', 'DELETE']) expect((await bob.request(method, path)).status).toBe(404);
    expect((await bob.request('POST', DOCUMENTS, { text: 'x' })).status).toBe(404);
    expect((await alice.request('DELETE', path)).status).toBe(204);
    expect(await pointsOf(done.document_id)).toBe(0);
    expect((await alice.request('GET', path)).status).toBe(404);
    expect((await alice.request('DELETE', path)).status).toBe(404);
    expect(await search('shelf', 'door')).toEqual([]);
    expect(await world.db.selectFrom('documents').select('id').where('id', '=', done.document_id).execute()).toEqual(
      [],
    );
  });

  it('come as files, which are kept for the task alone', async () => {
    const answer = await upload(makePdf([['The blue door.']]), 'doors.pdf');
    const done = await wait(answer);
    expect(done).toMatchObject({ content_type: 'application/pdf', outcome: 'stored' });
    expect((await search('shelf', 'door')).map(({ payload }) => [payload.source, payload.room])).toEqual([
      ['doors.pdf', 'hall'],
    ]);
    expect(
      await world.db.selectFrom('files').select('id').where('id', '=', answer.body.input.file_id).execute(),
    ).toEqual([]);
  });

  it('come as files once under an Idempotency-Key, and other files not at all', async () => {
    const first = await upload('One letter.', 'letter.txt', 'letters');
    const again = await upload('One letter.', 'letter.txt', 'letters');
    expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([202, 'true']);
    expect(again.body).toMatchObject({ id: first.body.id, input: first.body.input });
    for (const [content, name, room] of [
      ['Two letter.', 'letter.txt', 'hall'],
      ['One letter.', 'letter.md', 'hall'],
      ['One letter.', 'letter.txt', 'attic'],
    ] as const) {
      const refused = await upload(content, name, 'letters', room);
      expect([refused.status, refused.body]).toMatchObject([422, { code: 'idempotency_key_reused' }]);
    }
    await wait(first);
    expect(await world.db.selectFrom('files').select('id').execute()).toEqual([]);
    expect((await search('shelf', 'letter', { filter: FROM_HALL })).map(({ text }) => text)).toContain('One letter.');
  });

  it('come as the body itself, with what is said of them in the query', async () => {
    const send = async (type: string, body: string | Buffer<ArrayBuffer>, query: string) => {
      const headers = {
        authorization: `Bearer ${alice.token}`,
        'content-type': type,
        'idempotency-key': query.slice(0, 12),
      };
      const answer = await fetch(`${world.url}${DOCUMENTS}?${query}`, { method: 'POST', headers, body });
      return { status: answer.status, body: (await answer.json()) as { id: string; errors?: unknown[] } };
    };
    const page = 'title=Sill&filename=sill.md&chunk_tokens=64&metadata={"room":"sill"}';
    const pdf = makePdf([['The yellow roof.']]);
    const [sill, roof] = await Promise.all([
      send('text/markdown; charset=utf-8', '# Sills\n\nThe wide sill.', page),
      send('application/pdf', pdf, 'title=Roofs'),
    ]);
    expect(await wait(sill)).toMatchObject({ title: 'Sill', content_type: 'text/markdown' });
    expect(await wait(roof)).toMatchObject({ title: 'Roofs', content_type: 'application/pdf' });
    const there = await search('shelf', 'wide sill', { filter: { must: [{ key: 'room', match: { value: 'sill' } }] } });
    expect(there).toMatchObject([{ text: 'The wide sill.', payload: { source: 'sill.md', heading: 'Sills' } }]);
    expect((await send('application/pdf', pdf, 'title=Roofs')).body.id).toBe(roof.body.id);
    expect((await send('application/pdf', makePdf([['Other.']]), 'title=Roofs')).body).toMatchObject({
      code: 'idempotency_key_reused',
    });
    expect((await send('text/plain', '', 'title=Empty')).status).toBe(422);
    expect((await send('text/plain', 'x', 'chunk_tokens=5')).body.errors).toMatchObject([
      { pointer: '#/chunk_tokens' },
    ]);
    expect((await send('image/png', 'x', 'title=Picture')).status).toBe(415);
    expect((await alice.request('POST', `${DOCUMENTS}?title=x`, { text: 'x' })).status).toBe(422);
    expect(await world.db.selectFrom('files').select('id').execute()).toEqual([]);
  });

  it('come as files without a name, none of which takes the place of another', async () => {
    const [one, other] = await Promise.all([upload('A nameless page.', ''), upload('Another one.', 'blob')]);
    for (const answer of [one, other]) expect((await wait(answer)).outcome).toBe('stored');
    const read = await alice.request<{ data: Array<{ source: unknown }> }>('GET', `${DOCUMENTS}?limit=2`);
    expect(read.body.data.map(({ source }) => source)).toEqual([null, null]);
  });

  it('that cannot be read say why, and are gone on with when they come again', async () => {
    const given = { text: '{"a": ', content_type: 'application/json' };
    const { body } = await alice.request<{ id: string }>('POST', DOCUMENTS, given);
    expect((await alice.waitForEnd(body.id)).error).toMatchObject({ code: 'document_unreadable' });
    const list = await alice.request<{ data: Array<{ status: string }> }>('GET', DOCUMENTS);
    const [failed] = list.body.data;
    expect(failed).toMatchObject({ status: 'failed', task_id: body.id, error: { code: 'document_unreadable' } });
  });

  it('are refused at the door where they cannot be', async () => {
    for (const [given, pointer] of [
      [{}, '#'],
      [{ text: 'x', url: 'https://example.com/' }, '#'],
      [{ url: 'http://10.0.0.1/' }, '#/url'],
      [{ text: 'x', metadata: { chunk: 1 } }, '#/metadata'],
      [{ text: 'x', chunk_tokens: 5 }, '#/chunk_tokens'],
      [{ text: 'x', file_id: 'x' }, '#/file_id'],
    ] as const) {
      const { status, body } = await alice.request('POST', DOCUMENTS, given);
      expect([status, body.errors]).toMatchObject([422, [{ pointer }]]);
    }
    expect((await alice.request('POST', '/api/v1/collections/none/documents', { text: 'x' })).status).toBe(404);
  });

  it('are cleared away while they are ingested, too', async () => {
    const { promise: hold, resolve: go } = Promise.withResolvers<void>();
    let batches = 0;
    world.ollama.script = async ({ path }) => {
      if (path === '/api/embed' && ++batches === 2) await hold;
      return false;
    };
    const text = manual('green door', 100);
    const { body } = await alice.request<{ id: string }>('POST', DOCUMENTS, { text, content_type: 'text/markdown' });
    const rowOf = () => world.db.selectFrom('documents').selectAll().where('task_id', '=', body.id).executeTakeFirst();
    await until('the first batch is stored', async () => (await rowOf())?.embedded === 32);
    const id = (await rowOf())?.id as string;
    expect((await alice.request('DELETE', `${DOCUMENTS}/${id}`)).status).toBe(204);
    go();
    expect((await alice.waitForEnd(body.id)).error).toMatchObject({ code: 'document_deleted' });
    expect([await pointsOf(id), await rowOf()]).toEqual([0, undefined]);
  });
});

describe('the content of a document', () => {
  it('comes from a URL, and from there again', async () => {
    let page = '<html><title>A page</title><body><nav>menu</nav><h1>Doors</h1><p>The blue door.</p></body></html>';
    const site = await startScriptedHttp();
    site.script((response) => response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page));
    try {
      const url = `${site.url}/page`;
      const first = await ingest({ collection: 'web', url });
      expect(first).toMatchObject({ title: 'A page', content_type: 'text/html', chunks: 1 });
      expect((await search('web', 'menu')).map(({ text, payload }) => [text, payload.heading, payload.source])).toEqual(
        [['The blue door.', 'Doors', url]],
      );
      expect((await ingest({ collection: 'web', url })).outcome).toBe('unchanged');
      page = page.replace('blue', 'green');
      expect((await ingest({ collection: 'web', url })).outcome).toBe('replaced');
      expect((await search('web', 'door')).map(({ text }) => text)).toEqual(['The green door.']);
    } finally {
      await site.close();
    }
  });

  it('is not got from private addresses, which is said at the door', async () => {
    const answer = await alice.request('POST', '/api/v1/tasks', {
      type: 'document.ingest',
      input: { collection: 'web', url: 'http://10.0.0.1/' },
    });
    expect(answer.status).toBe(422);
    expect(answer.body).toMatchObject({ errors: [{ pointer: '#/input/url' }] });
  });

  it.each([
    ['a PDF that is none', { content_type: 'application/pdf' }, 'does not begin as one'],
    ['a type that is not read', { content_type: 'image/png' }, 'cannot be read'],
    ['JSON that is none', { content_type: 'application/json' }, 'not valid'],
  ])('is refused where it is %s', async (_, more, said) => {
    const error = await failure({ collection: 'refused', text: 'just a text', ...more });
    expect(error).toMatchObject({ code: 'document_unreadable', message: expect.stringContaining(said) });
  });

  it('is JSON where it is, though nothing says so', async () => {
    const site = await startScriptedHttp();
    site.script((response) => response.end('{"door": "blue"}'));
    try {
      const done = await ingest({ collection: 'json', url: `${site.url}/doors` });
      expect(done).toMatchObject({ content_type: 'application/json', outcome: 'stored' });
      expect((await search('json', 'door')).map(({ text }) => text)).toEqual(['door: blue']);
      const again = await ingest({ collection: 'json', url: `${site.url}/doors` });
      expect(again).toEqual({ ...done, outcome: 'unchanged' });
    } finally {
      await site.close();
    }
  });

  it('is a PDF, by pages', async () => {
    const pdf = makePdf([['The first page.'], ['The second page', 'goes on.']], { title: 'Two pages' });
    const site = await startScriptedHttp();
    site.script((response) => response.writeHead(200, { 'content-type': 'application/pdf' }).end(pdf));
    try {
      const done = await ingest({ collection: 'pdf', url: `${site.url}/a.pdf` });
      expect(done).toMatchObject({ title: 'Two pages', chunks: 2 });
      const hits = await search('pdf', 'second page');
      expect(hits.map(({ payload }) => payload.heading).sort()).toEqual(['Page 1', 'Page 2']);
    } finally {
      await site.close();
    }
  });
});

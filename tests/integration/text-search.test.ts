import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Db } from '../../src/db/connect.ts';
import { newId } from '../../src/db/ids.ts';
import { searchText } from '../../src/db/text-search.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { storeUser } from '../support/tasks.ts';

let database: TestDatabase;
let db: Db;
beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
});
afterAll(() => database.close());

interface Chunk {
  heading?: string;
  text: string;
}

async function storeCollection(userId: string): Promise<string> {
  const id = newId();
  const row = { id, user_id: userId, name: `c${id}`, embedding_model: 'all-minilm:latest', dimensions: 8 };
  await db.insertInto('collections').values(row).execute();
  return id;
}

async function storeDocument(userId: string, collectionId: string, chunks: Chunk[], status = 'ready'): Promise<string> {
  const id = newId();
  await db
    .insertInto('documents')
    .values({
      ...{ id, user_id: userId, collection_id: collectionId, content_type: 'text/plain', content_hash: id, bytes: 1 },
      ...{ metadata: '{}', chunks: chunks.length, status: status as 'ready' },
    })
    .execute();
  const rows = chunks.map(({ heading = '', text }, chunk) => ({ document_id: id, chunk, heading, text, tokens: 1 }));
  await db.insertInto('document_chunks').values(rows).execute();
  return id;
}

async function library(chunks: Chunk[]) {
  const userId = await storeUser(db);
  const collectionId = await storeCollection(userId);
  const documentId = await storeDocument(userId, collectionId, chunks);
  const find = async (question: string, page = { limit: 10 }) =>
    (await searchText(db, { userId, collectionId }, question, page)).map(({ chunk }) => chunk);
  return { userId, collectionId, documentId, find };
}

describe('the words of a question', () => {
  it('find the chunks that have some of them, rare ones first, in other forms and other joints too', async () => {
    const { find } = await library([
      { text: 'The queue holds tasks. Tasks wait in the queue.' },
      { text: 'Set MAX_BODY_BYTES where tasks are larger.' },
      { text: 'A task of the type vector.search finds what is near.' },
      { text: 'Kettles whistle.' },
    ]);
    expect((await find('Which tasks are searched by vectors?'))[0]).toBe(2);
    expect((await find('max body'))[0]).toBe(1);
    expect(await find('whistling kettle')).toEqual([3]);
    expect(await find('the of where is')).toEqual([]);
    expect(await find('')).toEqual([]);
    expect(await find(`'"\\ & | ! ( ) <-> :* kettle'`)).toEqual([3]);
    // What three of four have tells less than what one has.
    expect((await find('task task task kettle'))[0]).toBe(3);
  });

  it('count more in a heading', async () => {
    const text = 'Something about it, and about other things of that sort.';
    const { find } = await library([{ text: `${text} Fares.` }, { heading: 'Trams › Fares', text }]);
    expect(await find('fares')).toEqual([1, 0]);
  });

  it('are found up to a limit, in the same order each time', async () => {
    const { find } = await library(Array.from({ length: 7 }, (_, n) => ({ text: `bread ${'and '.repeat(n)} butter` })));
    const all = await find('bread');
    expect(all.toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(await find('bread', { limit: 3 })).toEqual(all.slice(0, 3));
  });

  it('of a very long text are not all looked for', async () => {
    const { find } = await library([{ text: 'extraordinarily' }]);
    const words = Array.from({ length: 3_000 }, (_, n) => `w${n}`).join(' ');
    expect(await find(`${words} extraordinarily`)).toEqual([0]);
  });

  it('find nothing of another user, another collection, or a document that is not whole or is going', async () => {
    const { userId, collectionId, documentId } = await library([{ text: 'a secret recipe' }]);
    for (const status of ['reading', 'embedding', 'deleting'])
      await storeDocument(userId, collectionId, [{ text: `a secret ${status}` }], status);
    const found = await searchText(db, { userId, collectionId }, 'secret', { limit: 10 });
    expect(found).toEqual([{ document_id: documentId, chunk: 0, score: expect.any(Number) }]);
    expect(found[0]?.score).toBeGreaterThan(0);
    const other = await library([{ text: 'nothing' }]);
    expect(await searchText(db, { userId: other.userId, collectionId }, 'secret', { limit: 10 })).toEqual([]);
    expect(await other.find('secret')).toEqual([]);
    const second = await storeCollection(userId);
    expect(await searchText(db, { userId, collectionId: second }, 'secret', { limit: 10 })).toEqual([]);
  });
});

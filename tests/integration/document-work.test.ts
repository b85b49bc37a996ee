import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VectorClient } from '../../src/clients/qdrant.ts';
import type { Db } from '../../src/db/connect.ts';
import {
  finishDocument,
  markEmbedded,
  openDocument,
  type Standing,
  storeChunks,
  takeReady,
} from '../../src/db/document-work.ts';
import type { DocumentRow } from '../../src/db/documents.ts';
import { newId } from '../../src/db/ids.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { clearDocuments, startClearing } from '../../src/documents/clear.ts';
import { createLog } from '../../src/log.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { newTask, storeUser } from '../support/tasks.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let db: Db;
let userId: string;
let collectionId: string;
beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  userId = await storeUser(db);
  collectionId = newId();
  const row = { id: collectionId, user_id: userId, name: 'shelf', embedding_model: 'all-minilm:latest', dimensions: 8 };
  await db.insertInto('collections').values(row).execute();
});
afterAll(() => database.close());

async function storeTask(): Promise<string> {
  const task = newTask(userId);
  await acceptTasks(db, [task]);
  return task.id;
}
const end = (id: string) =>
  db.updateTable('tasks').set({ status: 'failed', completed_at: new Date() }).where('id', '=', id).execute();

async function open(
  taskId: string,
  content: string,
  more: { title?: string; metadata?: object; identity?: string } = {},
) {
  const { title = null, metadata = {}, identity = null } = more;
  const given = {
    ...{ id: newId(), user_id: userId, collection_id: collectionId, task_id: taskId, identity, title, source: null },
    ...{ content_type: 'text/plain', content_hash: content, metadata: JSON.stringify(metadata), bytes: 1 },
  };
  return ((await openDocument(db, given, 0)) as Standing).document;
}

async function cut(document: DocumentRow, title = document.title): Promise<void> {
  const chunks = [{ heading: '', text: 'One.', tokens: 1 }];
  expect(await storeChunks(db, document, { title, content_type: 'text/plain' }, chunks)).toBe(true);
  expect(await markEmbedded(db, document, { embedded: 1, points: 1 })).toBe(true);
}

describe('a document', () => {
  it('that a later one overtook is outdone, not gone', async () => {
    const identity = 'title:Guide';
    const [one, other, lost] = [await storeTask(), await storeTask(), await storeTask()];
    const failed = await open(lost, 'failed', { identity });
    await end(lost);
    const older = await open(one, 'older', { identity });
    await cut(older);
    const later = await open(other, 'later', { identity });
    await cut(later);
    expect(await finishDocument(db, later)).toEqual({ is: 'ready', replaced: [failed.id] });
    expect(await finishDocument(db, older)).toEqual({ is: 'outdone', replaced: [older.id] });
  });

  it('that is gone on with keeps its title, and all its points get what is said of it anew', async () => {
    const [one, other] = [await storeTask(), await storeTask()];
    await cut(await open(one, 'again'), 'As it says');
    await end(one);
    expect(await open(other, 'again')).toMatchObject({ title: 'As it says', embedded: 1 });
    expect(await open(other, 'again', { metadata: { floor: 2 } })).toMatchObject({ title: 'As it says', embedded: 0 });
  });

  it('that is there is one task at a time to rename', async () => {
    const [one, other] = [await storeTask(), await storeTask()];
    const document = await open(one, 'named');
    await cut(document);
    await finishDocument(db, document);
    expect(await takeReady(db, document.id, one)).toBe('mine');
    expect(await takeReady(db, document.id, other)).toBe('busy');
    await end(one);
    expect(await takeReady(db, document.id, other)).toBe('mine');
    expect(await takeReady(db, newId(), other)).toBe('gone');
  });
});

describe('clearing away', () => {
  const hidden = async (content: string) => {
    const task = await storeTask();
    const { id } = await open(task, content);
    await end(task);
    await db
      .updateTable('documents')
      .set({ status: 'deleting', updated_at: new Date(0) })
      .where('id', '=', id)
      .execute();
    return id;
  };
  const left = async (ids: string[]) =>
    (await db.selectFrom('documents').select('id').where('id', 'in', ids).execute()).map(({ id }) => id);

  it('does not stop at one that cannot be cleared, which then stands behind the others', async () => {
    const [bad, good] = [await hidden('bad'), await hidden('good')];
    const store = {
      async remove(_: string, filter: object) {
        if (JSON.stringify(filter).includes(bad)) throw new Error('not this one');
      },
    } as unknown as VectorClient;
    const signal = new AbortController().signal;
    await expect(clearDocuments({ db, store }, { quietMs: 60_000 }, signal)).rejects.toThrow('not this one');
    expect(await left([bad, good])).toEqual([bad]);
    expect(await clearDocuments({ db, store }, { quietMs: 60_000 }, signal)).toBe(0);
  });

  it('ends at once where the store says nothing', async () => {
    await hidden('silent');
    let asked = false;
    const remove = (_: string, __: object, signal: AbortSignal) =>
      new Promise<void>((_resolve, reject) => {
        asked = true;
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    const clearing = startClearing({ db, store: { remove } as never, log: createLog('silent'), everyMs: 1 });
    await until('the store is asked', async () => asked);
    await clearing.close();
  });
});

import { newId } from '../../src/db/ids.ts';
import { chunkId } from '../../src/vectors/chunks.ts';
import { type Script, sendLines } from './fake-ollama.ts';
import type { Client, World } from './world.ts';

/** A chunk of a document, as a test wants it. */
export interface TestChunk {
  heading?: string;
  text: string;
  /** What may be filtered by. */
  metadata?: Record<string, unknown>;
}

/** Stores a document with just these chunks, as ingesting it would; answers its id. */
export async function storeDocument(
  { db }: World,
  client: Client,
  { collection, title, chunks }: { collection: string; title: string; chunks: TestChunk[] },
): Promise<string> {
  const id = newId();
  const points = chunks.map(({ heading = '', text, metadata }, chunk) => ({
    ...{ id: chunkId(id, chunk), text },
    payload: { ...metadata, document_id: id, chunk, heading, title },
  }));
  const task = await client.runTask('vector.upsert', { collection, points });
  if (task.status !== 'completed') throw new Error(JSON.stringify(task.error));
  const { id: collectionId } = await db
    .selectFrom('collections')
    .select('id')
    .where('user_id', '=', client.userId)
    .where('name', '=', collection)
    .executeTakeFirstOrThrow();
  const row = { id, user_id: client.userId, collection_id: collectionId, title, content_hash: id, metadata: '{}' };
  await db
    .insertInto('documents')
    .values({ ...row, content_type: 'text/plain', bytes: 1, chunks: chunks.length, status: 'ready' })
    .execute();
  const rows = chunks.map(({ heading = '', text }, chunk) => ({ document_id: id, chunk, heading, text, tokens: 1 }));
  await db.insertInto('document_chunks').values(rows).execute();
  return id;
}

/** Has the model say this when it is asked in a chat, in pieces. */
export function saying(pieces: string[]): Script {
  return ({ path }, response) => {
    if (path !== '/api/chat') return false;
    const done = { done: true, done_reason: 'stop', prompt_eval_count: 50, eval_count: 9 };
    sendLines(response, [
      ...pieces.map((content) => ({ message: { role: 'assistant', content }, done: false })),
      { message: { role: 'assistant', content: '' }, ...done },
    ]);
    return true;
  };
}

import { type Selectable, sql } from 'kysely';
import type { Db } from './connect.ts';
import { pageOf } from './page.ts';
import type { CollectionTable, DocumentChunkTable, DocumentTable, Status, StoredError } from './schema.ts';

export type DocumentRow = Selectable<DocumentTable>;
export type ChunkRow = Selectable<DocumentChunkTable>;

/** A document with what its task says of it. */
export type ListedDocument = DocumentRow & { task_status: Status | null; task_error: StoredError | null };

function withTask(db: Db, collectionId: string) {
  return db
    .selectFrom('documents as d')
    .leftJoin('tasks as t', 't.id', 'd.task_id')
    .selectAll('d')
    .select(['t.status as task_status', 't.error as task_error'])
    .where('d.collection_id', '=', collectionId)
    .where('d.status', '<>', 'deleting');
}

/** A page of the documents of a collection, newest first. */
export async function listDocuments(
  db: Db,
  collectionId: string,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: ListedDocument[]; next: string | null }> {
  let query = withTask(db, collectionId)
    .orderBy('d.id', 'desc')
    .limit(limit + 1);
  if (cursor) query = query.where('d.id', '<', cursor);
  return pageOf(await query.execute(), limit);
}

/** A document of a collection; `undefined` where there is none, or where it is being cleared away. */
export async function findDocument(db: Db, collectionId: string, id: string): Promise<ListedDocument | undefined> {
  return withTask(db, collectionId).where('d.id', '=', id).executeTakeFirst();
}

/**
 * The documents of a collection whose points are in the vector store and must not be found: those that are not whole yet,
 * and those that are being cleared away. A search leaves them out.
 */
export async function listHidden(db: Db, collectionId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('documents')
    .select('id')
    .where('collection_id', '=', collectionId)
    .where('status', 'in', ['embedding', 'deleting'])
    .execute();
  return rows.map(({ id }) => id);
}

/** Chunks of a document in order, from the number `from` on. */
export async function listChunks(db: Db, documentId: string, from: number, limit: number): Promise<ChunkRow[]> {
  return (
    db
      .selectFrom('document_chunks')
      // Not what is there for searches alone.
      .select(['document_id', 'chunk', 'heading', 'text', 'tokens'])
      .where('document_id', '=', documentId)
      .where('chunk', '>=', from)
      .orderBy('chunk')
      .limit(limit)
      .execute()
  );
}

/** Takes a document out of every search at once; its points and its row are still to be cleared away. */
export async function hideDocument(db: Db, collectionId: string, id: string): Promise<DocumentRow | undefined> {
  return db
    .updateTable('documents')
    .set({ status: 'deleting', updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('collection_id', '=', collectionId)
    .where('status', '<>', 'deleting')
    .returningAll()
    .executeTakeFirst();
}

/** A document that is to be cleared away, with what tells where its points are. */
export type OldDocument = Pick<DocumentRow, 'id' | 'user_id' | 'collection_id'> &
  Pick<Selectable<CollectionTable>, 'embedding_model' | 'dimensions' | 'distance'>;

/**
 * Documents that are to be cleared away and that no task but `taskId` is at work on, so that nobody stores points of them.
 * @param quietMs for how long they have been hidden at least: searches that began before then are over
 */
export async function listOld(
  db: Db,
  { quietMs, limit, ids, taskId }: { quietMs: number; limit: number; ids?: string[]; taskId?: string },
): Promise<OldDocument[]> {
  const { rows } = await sql<OldDocument>`
    select d.id, d.user_id, d.collection_id, c.embedding_model, c.dimensions, c.distance
    from documents d join collections c on c.id = d.collection_id
    where d.status = 'deleting' and d.updated_at <= now() - ${quietMs}::int * interval '1 millisecond'
      and not exists (select from tasks t where t.id = d.task_id and t.status in ('running', 'cancelling')
        and t.id is distinct from ${taskId ?? null}::uuid)
      ${ids === undefined ? sql`` : sql`and d.id = any(${ids}::uuid[])`}
    order by d.id limit ${limit}`.execute(db);
  return rows;
}

/** Forgets a document whose points are gone. */
export async function forgetDocument(db: Db, id: string): Promise<void> {
  await db.deleteFrom('documents').where('id', '=', id).where('status', '=', 'deleting').execute();
}

/** Lets others that are to be cleared away go before. */
export async function postponeOld(db: Db, id: string): Promise<void> {
  await db
    .updateTable('documents')
    .set({ updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('status', '=', 'deleting')
    .execute();
}

/** Of whom a document is, in which collection, and by what it is the same when its content is another. */
type Name = Pick<DocumentRow, 'user_id' | 'collection_id'> & { identity?: string | null };

/** Whether a user has as many documents as they may have, those apart that one of this name would replace. */
export async function hasAllDocuments(db: Db, given: Name, max: number): Promise<boolean> {
  if (max === 0) return false;
  const { rows } = await sql<{ full: boolean }>`select (${countOthers(given)}) >= ${max}::int as full`.execute(db);
  return rows[0]?.full ?? false;
}

/** The query for how many documents a user has, those apart that one of this name would replace. */
export function countOthers({ user_id, collection_id, identity = null }: Name) {
  return sql`select count(*) from documents where user_id = ${user_id} and status <> 'deleting'
    and (collection_id = ${collection_id} and identity = ${identity}::text) is not true`;
}

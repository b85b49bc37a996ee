import { isDeepStrictEqual } from 'node:util';
import { type Insertable, sql } from 'kysely';
import type { Db } from './connect.ts';
import { type ChunkRow, countOthers, type DocumentRow } from './documents.ts';
import { ENDED, hasEnded, type Status } from './schema.ts';
import type { DocumentTable } from './schema-documents.ts';

/** What a task wants to have ingested, and under which name. */
export type NewDocument = Pick<
  Insertable<DocumentTable>,
  | 'id'
  | 'user_id'
  | 'collection_id'
  | 'identity'
  | 'title'
  | 'source'
  | 'content_type'
  | 'content_hash'
  | 'metadata'
  | 'bytes'
> & { task_id: string };

/**
 * Whose a content is now: this task's to work on; already there whole; another task's that is under way; or of a document
 * that is to be cleared away first.
 */
export type Standing = { is: 'mine' | 'there' | 'busy' | 'old'; document: DocumentRow };

/**
 * Makes the document of a content, or takes over the one that is there: the same content is one document of a collection.
 * @param max how many documents the user may have, those apart that this one replaces; 0 is no limit
 * @returns `full` where it would be one too many, `undefined` where the collection is gone
 */
export async function openDocument(db: Db, given: NewDocument, max: number): Promise<Standing | 'full' | undefined> {
  return db.transaction().execute(async (trx) => {
    // Two tasks of one user wait for each other here, so that they cannot both have the last place.
    if (max > 0) await sql`select 1 from users where id = ${given.user_id} for no key update`.execute(trx);
    const others = countOthers(given);
    // What is deleted between the two statements is not found by either: once more.
    for (let turn = 0; turn < 3; turn++) {
      const { rows } = await sql<DocumentRow>`
        insert into documents (id, user_id, collection_id, task_id, identity, title, source, content_type, content_hash,
          metadata, status, bytes)
        select ${given.id}, ${given.user_id}, id, ${given.task_id}, ${given.identity}, ${given.title}, ${given.source},
          ${given.content_type}, ${given.content_hash}, ${given.metadata}::jsonb, 'reading', ${given.bytes}
        from collections where id = ${given.collection_id} and (${max}::int = 0 or (${others}) < ${max}::int) for key share
        on conflict (collection_id, content_hash) do nothing returning *`.execute(trx);
      if (rows[0]) return { is: 'mine', document: rows[0] };
      const there = await trx
        .selectFrom('documents as d')
        .leftJoin('tasks as t', 't.id', 'd.task_id')
        .selectAll('d')
        .select('t.status as task_status')
        .where('d.collection_id', '=', given.collection_id)
        .where('d.content_hash', '=', given.content_hash)
        .forUpdate('d')
        .executeTakeFirst();
      if (there) {
        const { task_status, ...document } = there;
        return stand(trx, document, task_status, given);
      }
    }
    const { rows } = await sql`select 1 from collections where id = ${given.collection_id}
      and (${others}) >= ${max}::int`.execute(trx);
    return max > 0 && rows.length > 0 ? 'full' : undefined;
  });
}

async function stand(trx: Db, document: DocumentRow, taskStatus: Status | null, given: NewDocument): Promise<Standing> {
  if (document.status === 'deleting') return { is: 'old', document };
  if (document.status === 'ready') return { is: 'there', document };
  const another = document.task_id !== given.task_id;
  // One at a time: the other goes on, or has ended without an end of its document.
  if (another && taskStatus !== null && !hasEnded(taskStatus)) return { is: 'busy', document };
  const { task_id, identity, source, metadata } = given;
  const title = given.title ?? document.title;
  // Points that are stored already say what was given before.
  const same =
    title === document.title &&
    source === document.source &&
    isDeepStrictEqual(JSON.parse(metadata), document.metadata);
  const embedded = same ? document.embedded : 0;
  const taken = await trx
    .updateTable('documents')
    .set({ task_id, identity, title, source, metadata, embedded, updated_at: sql<Date>`now()` })
    .where('id', '=', document.id)
    .returningAll()
    .executeTakeFirstOrThrow();
  return { is: 'mine', document: taken };
}

/** What an earlier attempt of the task left to be gone on with: a document whose chunks are stored. */
export async function findUnfinished(db: Db, taskId: string): Promise<DocumentRow | undefined> {
  return db
    .selectFrom('documents')
    .selectAll()
    .where('task_id', '=', taskId)
    .where('status', '=', 'embedding')
    .executeTakeFirst();
}

/** As many rows as one statement inserts: each has five parameters, of which Postgres takes 65,535. */
const ROWS = 1_000;

/** Stores the chunks of a document that has none, all or none. Answers whether it still was the task's to work on. */
export async function storeChunks(
  db: Db,
  { id, task_id }: Pick<DocumentRow, 'id' | 'task_id'>,
  read: Pick<DocumentRow, 'title' | 'content_type'>,
  chunks: Array<Omit<ChunkRow, 'document_id' | 'chunk'>>,
): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    const { rows } = await sql`
      update documents set status = 'embedding', chunks = ${chunks.length}, title = ${read.title},
        content_type = ${read.content_type}, updated_at = now()
      where id = ${id} and task_id = ${task_id} and status = 'reading' returning id`.execute(trx);
    if (rows.length === 0) return false;
    for (let from = 0; from < chunks.length; from += ROWS)
      await trx
        .insertInto('document_chunks')
        .values(chunks.slice(from, from + ROWS).map((one, n) => ({ document_id: id, chunk: from + n, ...one })))
        .execute();
    return true;
  });
}

/** Notes how many chunks are in the vector store, and how many points they have. Answers whether the document still is the task's to work on. */
export async function markEmbedded(
  db: Db,
  { id, task_id }: Pick<DocumentRow, 'id' | 'task_id'>,
  { embedded, points }: { embedded: number; points: number },
): Promise<boolean> {
  const { rows } = await sql`
    update documents set embedded = ${embedded}, points = ${points}, updated_at = now()
    where id = ${id} and task_id = ${task_id} and status = 'embedding' returning id`.execute(db);
  return rows.length > 0;
}

/** What became of a document that is whole: it is shown, a later one of its name is there already, or it is gone. */
export type Finish = { is: 'ready' | 'outdone' | 'gone'; replaced: string[] };

/**
 * Shows a document to searches and hides those that it replaces, at the same moment. Of several documents of one name the
 * one that began last stays, in whatever order they end: an older one that a task is at work on finds itself outdone.
 */
export async function finishDocument(db: Db, document: DocumentRow): Promise<Finish> {
  return db.transaction().execute(async (trx) => {
    const ofName =
      document.identity === null
        ? []
        : await trx
            .selectFrom('documents as d')
            .leftJoin('tasks as t', 't.id', 'd.task_id')
            .select(['d.id', 'd.status', 't.status as taskStatus'])
            .where('d.collection_id', '=', document.collection_id)
            .where(sql<boolean>`md5(identity) = md5(${document.identity}) and identity = ${document.identity}`)
            .orderBy('d.id')
            .forUpdate('d')
            .execute();
    const outdone = ofName.some(({ id, status }) => id > document.id && status === 'ready');
    const moved = await trx
      .updateTable('documents')
      .set({ status: outdone ? 'deleting' : 'ready', updated_at: sql<Date>`now()` })
      .where('id', '=', document.id)
      .where('status', 'in', ['embedding', 'ready'])
      .executeTakeFirst();
    if (moved.numUpdatedRows === 0n) return { is: 'gone', replaced: [] };
    const older = ofName
      .filter(({ id, status, taskStatus }) => {
        const underWay = taskStatus !== null && !hasEnded(taskStatus);
        return id < document.id && (status === 'ready' || status === 'deleting' || !underWay);
      })
      .map(({ id }) => id);
    const replaced = outdone ? [document.id] : older;
    if (older.length > 0 && !outdone)
      await trx
        .updateTable('documents')
        .set({ status: 'deleting', updated_at: sql<Date>`now()` })
        .where('id', 'in', older)
        .where('status', '<>', 'deleting')
        .execute();
    return { is: outdone ? 'outdone' : 'ready', replaced };
  });
}

/**
 * Makes a document that is there the task's to work on, so that it is not cleared away under it; `busy` while it is another
 * task's, which would store points with other metadata in between.
 */
export async function takeReady(db: Db, id: string, taskId: string): Promise<'mine' | 'busy' | 'gone'> {
  const { rows } = await sql`
    update documents as d set task_id = ${taskId} where d.id = ${id} and d.status = 'ready'
      and not exists (select from tasks t where t.id = d.task_id and t.id <> ${taskId} and t.status <> all(${[...ENDED]}))
    returning d.id`.execute(db);
  if (rows.length > 0) return 'mine';
  const there = await db.selectFrom('documents').select('id').where('id', '=', id).where('status', '=', 'ready');
  return (await there.executeTakeFirst()) ? 'busy' : 'gone';
}

/** Gives a document that is there another title and metadata, and says how many points it has now. `undefined` where it is not there any more. */
export async function renameDocument(
  db: Db,
  id: string,
  change: Pick<NewDocument, 'title' | 'metadata'> & { points: number },
): Promise<DocumentRow | undefined> {
  return db
    .updateTable('documents')
    .set({ ...change, updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('status', '=', 'ready')
    .returningAll()
    .executeTakeFirst();
}

/** Hides what was ingested under a name that now stands for the content of another document. Answers which. */
export async function replaceNamed(
  db: Db,
  kept: Pick<DocumentRow, 'id' | 'collection_id'>,
  identity: string,
): Promise<string[]> {
  const rows = await db
    .updateTable('documents')
    .set({ status: 'deleting', updated_at: sql<Date>`now()` })
    .where('collection_id', '=', kept.collection_id)
    .where(sql<boolean>`md5(identity) = md5(${identity}) and identity = ${identity}`)
    .where('id', '<>', kept.id)
    .where('status', '=', 'ready')
    .returning('id')
    .execute();
  return rows.map(({ id }) => id);
}

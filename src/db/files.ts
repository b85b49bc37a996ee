import { type RawBuilder, type Selectable, sql, type Transaction } from 'kysely';
import type { Db } from './connect.ts';
import { newId } from './ids.ts';
import type { Database } from './schema.ts';
import type { FileTable } from './schema-files.ts';

/** A file without its content. */
export type FileRow = Omit<Selectable<FileTable>, 'bytes'> & { bytes: number };

/** A file was deleted while somebody read it. */
export class FileGone extends Error {}

/** The most bytes of a part: what a process holds of a file at a time. */
export const PART_BYTES = 1_048_576;

/** What an upload is for that only the task has which was made for it; that deletes it. */
export const DOCUMENT_PURPOSE = 'document';

/**
 * What a file counts at least among those of its user, so that they have not any number of empty ones, and to add them up
 * is quick.
 */
export const LEAST_BYTES = 65_536;
const storedBy = (userId: unknown) =>
  sql`(select coalesce(sum(greatest(o.bytes, ${LEAST_BYTES})), 0) from files o where o.user_id = ${userId})`;

/** Whether a user may have one more file. @param maxUserBytes what all of them may have together; 0 is no limit */
export async function mayStore(db: Db, userId: string, maxUserBytes: number): Promise<boolean> {
  if (maxUserBytes === 0) return true;
  const { rows } = await sql<{ may: boolean }>`
    select ${storedBy(userId)} + ${LEAST_BYTES} <= ${maxUserBytes}::bigint as may`.execute(db);
  return rows[0]!.may;
}

/** Begins a file, which nobody sees before it is finished. One that nobody goes on with is taken away by `prune`. */
export async function createFile(
  db: Db,
  { userId, ...about }: { userId: string; filename: string; contentType: string | null; purpose: string },
): Promise<FileRow> {
  const { filename, contentType: content_type, purpose } = about;
  const row = await db
    .insertInto('files')
    .values({ id: newId(), user_id: userId, filename, content_type, purpose })
    .returningAll()
    .executeTakeFirstOrThrow();
  return withNumber(row);
}

/**
 * Adds at most {@link PART_BYTES} to the end of a file that is not finished.
 * @param maxUserBytes what all files of its user may have together; 0 is no limit
 * @returns `full` where that would be more; `gone` where there is no such file any more
 */
export async function appendToFile(
  db: Db,
  id: string,
  content: Uint8Array,
  maxUserBytes = 0,
): Promise<'added' | 'full' | 'gone'> {
  const length = content.byteLength;
  if (length > PART_BYTES) throw new Error(`a part of ${length} bytes is larger than ${PART_BYTES}`);
  const { rows } = await sql<{ added: boolean }>`
    with file as (select id, user_id from files where id = ${id} and status = 'uploading'),
    grown as (
      update files f set bytes = f.bytes + ${length}, updated_at = now() from file
      where f.id = file.id and f.status = 'uploading' and (${maxUserBytes}::bigint = 0 or
        ${storedBy(sql.ref('file.user_id'))} - greatest(f.bytes, ${LEAST_BYTES}) + greatest(f.bytes + ${length}, ${LEAST_BYTES})
          <= ${maxUserBytes}::bigint)
      returning f.id, f.bytes - ${length} as start),
    part as (insert into file_parts (file_id, start, content)
      select id, start, ${Buffer.from(content.buffer, content.byteOffset, length)} from grown returning 1)
    select exists (select from part) as added from file`.execute(db);
  return rows[0] ? (rows[0].added ? 'added' : 'full') : 'gone';
}

/** From now on the file is there, and does not change any more. */
export async function finishFile(
  db: Db,
  id: string,
  change: { purpose?: string; filename?: string } = {},
): Promise<FileRow | undefined> {
  const row = await db
    .updateTable('files')
    .set({ ...change, status: 'ready', updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('status', '=', 'uploading')
    .returningAll()
    .executeTakeFirst();
  return row && withNumber(row);
}

/** A finished file of this user. */
export async function findFile(db: Db, userId: string, id: string): Promise<FileRow | undefined> {
  const row = await db
    .selectFrom('files')
    .selectAll()
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .where('status', '=', 'ready')
    .executeTakeFirst();
  return row && withNumber(row);
}

export interface FileFilter {
  limit: number;
  order: 'asc' | 'desc';
  /** Only files that come behind this one in that order. */
  after?: string;
  purpose?: string;
}

/** The finished files of a user in the order of their making; one more than `limit`, where there are more. */
export async function listFiles(
  db: Db,
  userId: string,
  { limit, order, after, purpose }: FileFilter,
): Promise<FileRow[]> {
  let query = db
    .selectFrom('files')
    .selectAll()
    .where('user_id', '=', userId)
    .where('status', '=', 'ready')
    .orderBy('id', order)
    .limit(limit + 1);
  if (after) query = query.where('id', order === 'desc' ? '<' : '>', after);
  if (purpose) query = query.where('purpose', '=', purpose);
  return (await query.execute()).map(withNumber);
}

/** A file that is not finished is given up after an hour; of one that is being deleted, nobody waits for the rest. */
const IS_GIVEN_UP = sql`f.status = 'uploading' and (f.updated_at = '-infinity' or
  (f.purpose <> 'batch_output' and f.updated_at < now() - interval '1 hour'))`;
/** How many parts a statement deletes: those of a whole file may be too many. */
const PARTS = 64;

/** Deletes files with what is in them, a little at a time. @param which a condition on `files f` */
async function deleteFiles(db: Db, which: RawBuilder<unknown>): Promise<void> {
  for (let deleted = PARTS; deleted === PARTS; ) {
    const { numAffectedRows } = await sql`delete from file_parts where ctid = any(array(
      select p.ctid from file_parts p join files f on f.id = p.file_id where ${which} limit ${PARTS}))`.execute(db);
    deleted = Number(numAffectedRows ?? 0n);
  }
  await sql`delete from files f where ${which} and not exists (select from file_parts p where p.file_id = f.id)`.execute(
    db,
  );
}

/** Deletes a file of this user with its content, finished or not; not while a batch reads it. Answers what became of it. */
export async function deleteFile(db: Db, userId: string, id: string): Promise<'deleted' | 'in use' | 'gone'> {
  const outcome = await db.transaction().execute((trx) => hide(trx, userId, id));
  // From here on it is there for nobody; where this process ends, `pruneFiles` does the rest.
  if (outcome === 'deleted') await deleteFiles(db, sql`f.id = ${id}`);
  return outcome;
}

async function hide(trx: Transaction<Database>, userId: string, id: string): Promise<'deleted' | 'in use' | 'gone'> {
  const file = trx.selectFrom('files').select('id').where('id', '=', id).where('user_id', '=', userId);
  if (!(await file.forUpdate().executeTakeFirst())) return 'gone';
  // A statement of its own: that which waited for the lock does not see a batch that was begun meanwhile.
  const { numAffectedRows } = await sql`
    update files set status = 'uploading', updated_at = '-infinity' where id = ${id} and not exists (
      select from batches b where b.input_file_id = ${id} and b.step_at is not null)`.execute(trx);
  return numAffectedRows === 1n ? 'deleted' : 'in use';
}

/** Deletes all files of a user. */
export async function deleteFilesOfUser(db: Db, userId: string): Promise<void> {
  await deleteFiles(db, sql`f.user_id = ${userId}`);
}

/**
 * Deletes what was left of uploads that broke off, and of deletions, and the documents of tasks that nobody can run any more:
 * they are gone, or have ended before they came to delete it. One that failed may be run again.
 */
export async function pruneFiles(db: Db): Promise<void> {
  await sql`update files f set status = 'uploading', updated_at = '-infinity'
    where f.purpose = ${DOCUMENT_PURPOSE} and f.status = 'ready' and f.updated_at < now() - interval '1 hour' and not exists (
      select from tasks t where t.user_id = f.user_id and t.type = 'document.ingest' and t.status <> 'completed'
        and lower(t.input ->> 'file_id') = f.id::text)`.execute(db);
  await deleteFiles(db, IS_GIVEN_UP);
}

/**
 * Reads the content of a file, or the bytes from `from` to before `to`, a part at a time; no connection is held between two parts.
 * @throws FileGone where the file was deleted meanwhile
 */
export async function* readFile(
  db: Db,
  id: string,
  { from = 0, to = Number.POSITIVE_INFINITY } = {},
): AsyncGenerator<Uint8Array> {
  for (let at = from; at < to; ) {
    const { rows } = await sql<{ content: Buffer | null; bytes: string }>`
      select p.content, f.bytes from files f left join lateral (
        select substring(content from (${at}::bigint - start)::int + 1 for ${Math.min(to - at, PART_BYTES)}::int) as content
        from file_parts where file_id = f.id and start <= ${at}::bigint order by start desc limit 1) p on true
      where f.id = ${id}`.execute(db);
    const row = rows[0];
    if (!row) throw new FileGone(`the file ${id} is not there any more`);
    if (at >= Math.min(to, Number(row.bytes)) || !row.content?.length) return;
    at += row.content.length;
    yield row.content;
  }
}

function withNumber(row: Selectable<FileTable>): FileRow {
  return { ...row, bytes: Number(row.bytes) };
}

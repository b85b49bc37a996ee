import { type Selectable, sql, type Transaction } from 'kysely';
import type { Db } from './connect.ts';
import type { Database } from './schema.ts';
import type { BatchLineTable, BatchTable } from './schema-files.ts';

export type BatchRow = Selectable<BatchTable>;

/** A batch and what came of its lines, exactly as it is at this moment. */
export type CountedBatch = BatchRow & { counts: { total: number; completed: number; failed: number } };

/** A line of which nothing was written into a file yet. */
export type BatchLine = Omit<Selectable<BatchLineTable>, 'start' | 'batch_id'> & { start: number };

type NewBatch = Pick<
  BatchRow,
  'id' | 'user_id' | 'key_id' | 'endpoint' | 'completion_window' | 'metadata' | 'input_file_id' | 'request_id'
>;

/** How many batches of a user may be under way at a time. */
export const MAX_UNENDED_BATCHES = 100;

/**
 * Begins a batch over a file of its user; `undefined` where there is no such file for batches, `full` where they have
 * {@link MAX_UNENDED_BATCHES} already.
 */
export async function insertBatch(db: Db, batch: NewBatch, hours: number): Promise<BatchRow | 'full' | undefined> {
  return db.transaction().execute(async (trx) => {
    // One at a time for a user, so that the count is right.
    await sql`select pg_advisory_xact_lock(hashtextextended('batches ' || ${batch.user_id}, 0))`.execute(trx);
    const { rows } = await sql<{ unended: number }>`select count(*)::int as unended from (
      select from batches where user_id = ${batch.user_id} and step_at is not null limit ${MAX_UNENDED_BATCHES}) one`.execute(
      trx,
    );
    return rows[0]!.unended < MAX_UNENDED_BATCHES ? insertOver(trx, batch, hours) : 'full';
  });
}

async function insertOver(trx: Transaction<Database>, batch: NewBatch, hours: number): Promise<BatchRow | undefined> {
  // The file is held, so that it is not deleted at the same moment.
  const { rows } = await sql<BatchRow>`
    with file as (select id from files where id = ${batch.input_file_id} and user_id = ${batch.user_id}
      and status = 'ready' and purpose = 'batch' for key share)
    insert into batches (id, user_id, key_id, endpoint, completion_window, metadata, status, input_file_id, request_id, expires_at)
    select ${batch.id}, ${batch.user_id}, ${batch.key_id}, ${batch.endpoint}, ${batch.completion_window},
      ${batch.metadata && JSON.stringify(batch.metadata)}::jsonb, 'validating', file.id, ${batch.request_id},
      now() + ${hours} * interval '1 hour'
    from file returning *`.execute(trx);
  return rows[0];
}

/**
 * Of what has ended, the lines that are in no file yet are counted too: at most as many as a batch has waiting and running at
 * a time, however large it is.
 */
const counted = sql`select b.*, l.completed as more_completed, l.failed as more_failed
  from batches b, lateral (
    select count(*) filter (where t.status = 'completed')::int as completed,
      count(*) filter (where t.status <> 'completed')::int as failed
    from batch_lines l join tasks t on t.id = l.task_id and t.completed_at is not null
    where l.batch_id = b.id and l.line <= b.submitted_to) l`;

type Counted = BatchRow & { more_completed: number; more_failed: number };

function withCounts({ more_completed, more_failed, ...batch }: Counted): CountedBatch {
  const { total, completed, failed } = batch;
  return { ...batch, counts: { total, completed: completed + more_completed, failed: failed + more_failed } };
}

/** A batch of this user. */
export async function findBatch(db: Db, userId: string, id: string): Promise<CountedBatch | undefined> {
  const { rows } = await sql<Counted>`${counted} where b.id = ${id} and b.user_id = ${userId}`.execute(db);
  return rows[0] && withCounts(rows[0]);
}

/** The batches of a user, newest first; one more than `limit`, where there are more. */
export async function listBatches(
  db: Db,
  userId: string,
  { limit, after }: { limit: number; after?: string },
): Promise<CountedBatch[]> {
  const { rows } = await sql<Counted>`${counted} where b.user_id = ${userId}
    ${after ? sql`and b.id < ${after}` : sql``} order by b.id desc limit ${limit + 1}`.execute(db);
  return rows.map(withCounts);
}

/** Lets a batch come to its end; answers whether it had not begun to do so. */
export async function cancelBatch(db: Db, userId: string, id: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('batches')
    .set({ status: 'cancelling', cancelling_at: sql<Date>`now()`, step_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .where('status', 'in', ['validating', 'in_progress'])
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/**
 * The batch that has waited longest to be gone on with, held until the transaction ends; and whether its time is over.
 * @param without batches that are left alone
 * @param behind users whose batches come behind those of the others
 */
export async function takeDueBatch(
  trx: Transaction<Database>,
  without: string[],
  behind: string[],
): Promise<(BatchRow & { late: boolean; now: Date }) | undefined> {
  const { rows } = await sql<BatchRow & { late: boolean; now: Date }>`
    select *, expires_at <= now() as late, now() as now from batches
    where step_at <= now() and id <> all(${without}::uuid[])
    order by user_id = any(${behind}::uuid[]), step_at limit 1 for no key update skip locked`.execute(trx);
  return rows[0];
}

/** What a step changes of its batch. */
export type BatchChange = Partial<
  Pick<
    BatchRow,
    | 'status'
    | 'errors'
    | 'output_file_id'
    | 'error_file_id'
    | 'total'
    | 'blank'
    | 'submitted_to'
    | 'completed'
    | 'failed'
  >
> & { read_to?: number };

/** The column that says when a batch came to this status. */
const TIMES: Partial<Record<BatchRow['status'], string>> = {
  in_progress: 'in_progress_at',
  finalizing: 'finalizing_at',
  cancelling: 'cancelling_at',
  ...{ failed: 'ended_at', completed: 'ended_at', expired: 'ended_at', cancelled: 'ended_at' },
};

/** Writes down what a step did, and in how many milliseconds the next one is; `undefined` for none. */
export async function saveBatch(
  trx: Transaction<Database>,
  id: string,
  { errors, read_to, ...change }: BatchChange,
  nextMs: number | undefined,
): Promise<void> {
  const time = change.status && TIMES[change.status];
  await trx
    .updateTable('batches')
    .set({
      ...change,
      ...(errors === undefined ? {} : { errors: JSON.stringify(errors) }),
      ...(read_to === undefined ? {} : { read_to: String(read_to) }),
      ...(time ? { [time]: sql`now()` } : {}),
      step_at: nextMs === undefined ? null : sql<Date>`clock_timestamp() + ${nextMs} * interval '1 millisecond'`,
    })
    .where('id', '=', id)
    .execute();
}

/** Remembers lines; answers which of them were taken: of those with one custom_id it is the first. */
export async function insertLines(
  trx: Transaction<Database>,
  batchId: string,
  lines: Array<Omit<BatchLine, 'task_id'>>,
): Promise<Set<number>> {
  if (lines.length === 0) return new Set();
  const { rows } = await sql<{ line: number }>`
    insert into batch_lines (batch_id, line, custom_id, start, length)
    select ${batchId}::uuid, line, custom_id, start, length
    from json_to_recordset(${JSON.stringify(lines)}::json) as l(line int, custom_id text, start bigint, length int) order by line
    on conflict (batch_id, custom_id) do nothing returning line`.execute(trx);
  return new Set(rows.map(({ line }) => line));
}

/** The length of a line that was refused and is remembered for its custom_id only, as long as the others are looked at. */
export const REFUSED = 0;

/** Forgets the lines that were refused. */
export async function forgetRefused(trx: Transaction<Database>, batchId: string): Promise<void> {
  await sql`delete from batch_lines where batch_id = ${batchId} and length = ${REFUSED}`.execute(trx);
}

/** The first lines behind this one. */
export async function listLines(db: Db, batchId: string, after: number, limit: number): Promise<BatchLine[]> {
  const { rows } = await sql<BatchLine & { start: string }>`
    select line, custom_id, start, length, task_id from batch_lines
    where batch_id = ${batchId} and line > ${after} order by line limit ${limit}`.execute(db);
  return rows.map((row) => ({ ...row, start: Number(row.start) }));
}

/** Says which tasks do these lines. */
export async function setTasks(
  trx: Transaction<Database>,
  batchId: string,
  made: Array<{ line: number; task_id: string }>,
): Promise<void> {
  await sql`update batch_lines l set task_id = m.task_id
    from unnest(${made.map(({ line }) => line)}::int[], ${made.map(({ task_id }) => task_id)}::uuid[]) as m(line, task_id)
    where l.batch_id = ${batchId} and l.line = m.line`.execute(trx);
}

/** How many of the lines that have tasks are in no file yet. */
export async function countOpen(db: Db, batchId: string, upTo: number): Promise<number> {
  const { rows } = await sql<{ open: number }>`
    select count(*)::int as open from batch_lines where batch_id = ${batchId} and line <= ${upTo}`.execute(db);
  return rows[0]?.open ?? 0;
}

/**
 * Lines whose tasks have ended, or are gone, in order, with the size of what is in those as it is stored.
 */
export async function listEnded(
  db: Db,
  batchId: string,
  upTo: number,
  limit: number,
): Promise<Array<{ line: number; custom_id: string; task_id: string; size: number }>> {
  const { rows } = await sql<{ line: number; custom_id: string; task_id: string; size: number }>`
    select l.line, l.custom_id, l.task_id,
      coalesce(pg_column_size(t.output), 0) + coalesce(pg_column_size(t.input), 0) as size
    from batch_lines l left join tasks t on t.id = l.task_id
    where l.batch_id = ${batchId} and l.line <= ${upTo} and (t.id is null or t.completed_at is not null)
    order by l.line limit ${limit}`.execute(db);
  return rows;
}

/** The tasks of a batch that wait or run. */
export async function listUnended(db: Db, batchId: string, upTo: number, limit: number): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select t.id from batch_lines l join tasks t on t.id = l.task_id
    where l.batch_id = ${batchId} and l.line <= ${upTo} and t.status in ('scheduled', 'pending', 'running')
    order by t.id limit ${limit}`.execute(db);
  return rows.map(({ id }) => id);
}

/** Forgets lines: what there is to say of them stands in a file. */
export async function deleteLines(trx: Transaction<Database>, batchId: string, lines: number[]): Promise<void> {
  await sql`delete from batch_lines where batch_id = ${batchId} and line = any(${lines}::int[])`.execute(trx);
}

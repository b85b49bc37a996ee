import { type Selectable, sql } from 'kysely';
import type { Db } from '../connect.ts';
import { CLOCKS_DIFFER_MS, firstIdAt, shift } from '../ids.ts';
import { pageOf } from '../page.ts';
import type { AttemptTable, Status, TaskTable } from '../schema.ts';

export type TaskRow = Selectable<TaskTable>;
export type AttemptRow = Selectable<AttemptTable>;

/** Whose tasks may be seen: those of one user, or all. */
export type Owner = { userId: string } | 'any';

/** The task, or `undefined` where it does not exist or belongs to somebody else: the two must look the same. */
export async function findTask(db: Db, owner: Owner, id: string): Promise<TaskRow | undefined> {
  return db
    .selectFrom('tasks')
    .selectAll()
    .where('id', '=', id)
    .$if(owner !== 'any', (query) => query.where('user_id', '=', (owner as { userId: string }).userId))
    .executeTakeFirst();
}

export interface TaskFilter {
  status?: Status[];
  type?: string;
  tag?: string;
  batchId?: string;
  createdAfter?: Date;
  createdBefore?: Date;
  /** Only tasks older than this one. */
  cursor?: string;
  limit: number;
}

/** A page of tasks, newest first; one more than `limit` is read to know whether there is a next page. */
export async function listTasks(
  db: Db,
  owner: Owner,
  filter: TaskFilter,
): Promise<{ rows: TaskRow[]; next: string | null }> {
  let query = db
    .selectFrom('tasks')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(filter.limit + 1);
  if (owner !== 'any') query = query.where('user_id', '=', owner.userId);
  if (filter.status) query = query.where('status', 'in', filter.status);
  if (filter.type) query = query.where('type', '=', filter.type);
  if (filter.tag) query = query.where(sql<boolean>`tags @> ${[filter.tag]}::text[]`);
  if (filter.batchId) query = query.where('batch_id', '=', filter.batchId);
  // The ids carry the time too, by the clock of the API, and the index is on them: they bound what has to be looked at.
  if (filter.createdAfter) {
    query = query
      .where('created_at', '>', filter.createdAfter)
      .where('id', '>', firstIdAt(shift(filter.createdAfter, -CLOCKS_DIFFER_MS)));
  }
  if (filter.createdBefore) {
    query = query
      .where('created_at', '<', filter.createdBefore)
      .where('id', '<', firstIdAt(shift(filter.createdBefore, CLOCKS_DIFFER_MS)));
  }
  if (filter.cursor) query = query.where('id', '<', filter.cursor);
  return pageOf(await query.execute(), filter.limit);
}

/** The ledger of a task: every attempt that ended, in order. */
export async function listAttempts(db: Db, taskId: string): Promise<AttemptRow[]> {
  return db.selectFrom('attempts').selectAll().where('task_id', '=', taskId).orderBy('attempt').execute();
}

/** Marks tasks as awaited, so that their end is announced. */
export async function watchTask(db: Db, id: string): Promise<void> {
  await db.updateTable('tasks').set({ watched: true }).where('id', '=', id).where('watched', '=', false).execute();
}

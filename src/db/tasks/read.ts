import type { Selectable } from 'kysely';
import type { Db } from '../connect.ts';
import type { AttemptTable, TaskTable } from '../schema.ts';
import type { Owner } from './filter.ts';

export type { Owner } from './filter.ts';

export type TaskRow = Selectable<TaskTable>;
export type AttemptRow = Selectable<AttemptTable>;

/** The task, or `undefined` where it does not exist or belongs to somebody else: the two must look the same. */
export async function findTask(db: Db, owner: Owner, id: string): Promise<TaskRow | undefined> {
  return db
    .selectFrom('tasks')
    .selectAll()
    .where('id', '=', id)
    .$if(owner !== 'any', (query) => query.where('user_id', '=', (owner as { userId: string }).userId))
    .executeTakeFirst();
}

/** Whose tasks these are, by id; without those that are not there. */
export async function findOwners(db: Db, ids: string[]): Promise<Map<string, string>> {
  const rows = await db.selectFrom('tasks').select(['id', 'user_id']).where('id', 'in', ids).execute();
  return new Map(rows.map(({ id, user_id }) => [id, user_id]));
}

/** Tasks of anybody by id; in no order, and without those that are not there. */
export async function findTasks(db: Db, ids: string[]): Promise<TaskRow[]> {
  return db.selectFrom('tasks').selectAll().where('id', 'in', ids).execute();
}

/** The ledger of a task: its attempts that ended, in order; where a page is asked for, at most `limit` behind the attempt `after`. */
export async function listAttempts(
  db: Db,
  taskId: string,
  page?: { limit: number; after: number },
): Promise<AttemptRow[]> {
  const all = db.selectFrom('attempts').selectAll().where('task_id', '=', taskId).orderBy('attempt');
  return (page ? all.where('attempt', '>', page.after).limit(page.limit) : all).execute();
}

/** Marks tasks as awaited, so that their end is announced. */
export async function watchTask(db: Db, id: string): Promise<void> {
  await db.updateTable('tasks').set({ watched: true }).where('id', '=', id).where('watched', '=', false).execute();
}

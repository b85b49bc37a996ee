import { sql, type Transaction } from 'kysely';
import type { Db } from './connect.ts';
import type { UserLimits } from './limits.ts';
import { pageOf } from './page.ts';
import type { Database, Role } from './schema.ts';
import type { UserRow } from './users.ts';

export interface UserFilter {
  role?: Role;
  isActive?: boolean;
  /** A part of the user name or of the e-mail address, in any letter case. */
  q?: string;
  /** Only users made before this one. */
  cursor?: string;
  limit: number;
}

/** A page of users, newest first. */
export async function listUsers(db: Db, filter: UserFilter): Promise<{ rows: UserRow[]; next: string | null }> {
  let query = db
    .selectFrom('users')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(filter.limit + 1);
  if (filter.role) query = query.where('role', '=', filter.role);
  if (filter.isActive !== undefined) query = query.where('is_active', '=', filter.isActive);
  if (filter.q) {
    const part = filter.q.toLowerCase();
    query = query.where(sql<boolean>`(strpos(lower(username), ${part}) > 0 or strpos(lower(email), ${part}) > 0)`);
  }
  if (filter.cursor) query = query.where('id', '<', filter.cursor);
  return pageOf(await query.execute(), filter.limit);
}

/**
 * Holds the active administrators until the transaction ends, so that two requests cannot each take away the last but one;
 * answers how many there are. Whoever changes users does this first. Tasks of theirs are accepted meanwhile.
 */
export async function holdAdministrators(trx: Transaction<Database>): Promise<number> {
  const rows = await trx
    .selectFrom('users')
    .select('id')
    .where('role', '=', 'admin')
    .where('is_active', '=', true)
    .orderBy('id')
    .forNoKeyUpdate()
    .execute();
  return rows.length;
}

/** The user, held until the transaction ends; tasks of theirs are accepted meanwhile. */
export async function holdUser(trx: Transaction<Database>, id: string): Promise<UserRow | undefined> {
  return trx.selectFrom('users').selectAll().where('id', '=', id).forNoKeyUpdate().executeTakeFirst();
}

/** The limits of these users, where they have some of their own. */
export async function findLimitsOf(db: Db, userIds: string[]): Promise<Map<string, UserLimits>> {
  if (userIds.length === 0) return new Map();
  const rows = await db.selectFrom('user_limits').selectAll().where('user_id', 'in', userIds).execute();
  return new Map(rows.map(({ user_id, ...limits }) => [user_id, limits]));
}

/** What an administrator may change of an account. */
export interface UserChange {
  role?: Role;
  is_active?: boolean;
}

export async function updateUser(trx: Transaction<Database>, id: string, change: UserChange): Promise<UserRow> {
  return trx
    .updateTable('users')
    .set({ ...change, updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Deletes the tasks of a user, at most `limit` a call, with their attempts and deliveries; answers how many. */
export async function deleteTasksOfUser(db: Db, userId: string, limit: number): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from tasks where id in (select id from tasks where user_id = ${userId} limit ${limit})`.execute(db);
  return Number(numAffectedRows ?? 0n);
}

/** Deletes a user who has no task any more, with everything else that is theirs; answers whether it is gone. */
export async function deleteUser(trx: Transaction<Database>, id: string): Promise<boolean> {
  await trx.deleteFrom('token_usage').where('user_id', '=', id).execute();
  const { numDeletedRows } = await trx
    .deleteFrom('users')
    .where('id', '=', id)
    .where(({ not, exists, selectFrom }) => not(exists(selectFrom('tasks').select('id').where('user_id', '=', id))))
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

/** How many tasks of a user have not ended. */
export async function countUnfinished(db: Db, userId: string): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from tasks
    where user_id = ${userId} and status in ('scheduled', 'pending', 'running', 'cancelling')`.execute(db);
  return rows[0]?.count ?? 0;
}

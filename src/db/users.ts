import type { Selectable } from 'kysely';
import { sql } from 'kysely';
import type { Db } from './connect.ts';
import type { Role, UserTable } from './schema.ts';

export type UserRow = Selectable<UserTable>;

/** Stores a user; `undefined` when the name or the e-mail is taken, in any spelling of case. */
export async function insertUser(
  db: Db,
  user: { id: string; username: string; email: string; password_hash: string; role: Role },
): Promise<UserRow | undefined> {
  return db
    .insertInto('users')
    .values(user)
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst();
}

/** The user with this name or e-mail, in any spelling of case. */
export async function findUserByLogin(
  db: Db,
  login: { username: string } | { email: string },
): Promise<UserRow | undefined> {
  const [column, value] =
    'username' in login ? (['username', login.username] as const) : (['email', login.email] as const);
  return db
    .selectFrom('users')
    .selectAll()
    .where(sql`lower(${sql.ref(column)})`, '=', value.toLowerCase())
    .executeTakeFirst();
}

/** Those of the names that users have, in lower case. */
export async function findUsernames(db: Db, names: string[]): Promise<Set<string>> {
  const { rows } = await sql<{ name: string }>`
    select lower(username) as name from users
    where lower(username) = any(${names.map((name) => name.toLowerCase())}::text[])`.execute(db);
  return new Set(rows.map(({ name }) => name));
}

export async function findUser(db: Db, id: string): Promise<UserRow | undefined> {
  return db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst();
}

/** The role of a user as it is now; `undefined` where there is no such user any more. */
export async function findRole(db: Db, id: string): Promise<Role | undefined> {
  return (await db.selectFrom('users').select('role').where('id', '=', id).executeTakeFirst())?.role;
}

/** Whether anybody has an account: the first start makes an administrator. */
export async function hasUsers(db: Db): Promise<boolean> {
  return (await db.selectFrom('users').select('id').limit(1).executeTakeFirst()) !== undefined;
}

/** Puts another password in the place of the one whose hash is `known`; answers whether that was still the one. */
export async function replacePassword(db: Db, id: string, known: string, next: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('users')
    .set({ password_hash: next, updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('password_hash', '=', known)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

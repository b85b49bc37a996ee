import { type Selectable, sql, type Transaction } from 'kysely';
import type { Db } from './connect.ts';
import { pageOf } from './page.ts';
import type { Standing } from './principals.ts';
import type { ApiKeyTable, Database } from './schema.ts';

export type ApiKeyRow = Selectable<ApiKeyTable>;

export type NewApiKey = Omit<ApiKeyRow, 'created_at' | 'last_used_at' | 'revoked_at'>;

/** Stores a key unless its user has `max` of them already; `undefined` then. */
export async function insertApiKey(
  db: Transaction<Database>,
  key: NewApiKey,
  max: number,
): Promise<ApiKeyRow | undefined> {
  // Two requests of one user wait for each other here, so that they cannot both be the last that fits.
  await sql`select 1 from users where id = ${key.user_id} for no key update`.execute(db);
  const { count } = await db
    .selectFrom('api_keys')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('user_id', '=', key.user_id)
    .where('revoked_at', 'is', null)
    .executeTakeFirstOrThrow();
  if (Number(count) >= max) return undefined;
  return db.insertInto('api_keys').values(key).returningAll().executeTakeFirstOrThrow();
}

/** A page of the keys of a user that were not revoked, newest first. */
export async function listApiKeys(
  db: Db,
  userId: string,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: ApiKeyRow[]; next: string | null }> {
  const rows = await db
    .selectFrom('api_keys')
    .selectAll()
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .$if(cursor !== undefined, (query) => query.where('id', '<', cursor as string))
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return pageOf(rows, limit);
}

/** Ends a key of this user; a trigger tells every process. `undefined` where there is none that lives. */
export async function revokeApiKey(db: Db, userId: string, id: string): Promise<ApiKeyRow | undefined> {
  return db
    .updateTable('api_keys')
    .set({ revoked_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .returningAll()
    .executeTakeFirst();
}

/** A key that is good, with what it may do. */
export type KeyStanding = Standing & Pick<ApiKeyRow, 'scopes' | 'task_types' | 'priority_ceiling'>;

/** Looks keys up by their hashes in hex; only good ones of active users are among the answers. */
export async function findApiKeys(db: Db, hashes: string[]): Promise<Map<string, KeyStanding>> {
  const { rows } = await sql<KeyStanding & { hash: string }>`
    select k.id, encode(k.key_hash, 'hex') as hash, k.scopes, k.task_types, k.priority_ceiling, k.expires_at,
      u.id as user_id, u.username, u.role
    from api_keys k join users u on u.id = k.user_id
    where k.key_hash in (select decode(hash, 'hex') from unnest(${hashes}::text[]) hash)
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now()) and u.is_active`.execute(db);
  return new Map(rows.map(({ hash, ...row }) => [hash, row]));
}

/** Writes down that sessions and keys are used now, at most once a minute each. */
export async function touchLastUse(db: Db, ids: string[]): Promise<void> {
  for (const table of ['api_keys', 'user_sessions'] as const)
    await sql`update ${sql.table(table)} set last_used_at = now()
      where id = any(${ids}::uuid[]) and (last_used_at is null or last_used_at < now() - interval '1 minute')`.execute(
      db,
    );
}

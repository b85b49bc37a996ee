import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** How many rows of one table a call takes away at most, so that no statement holds many. */
const BATCH = 5_000;

/**
 * What is of no use any more. Sessions are remembered as long as `wasLoggedInFrom` looks back. Signing keys are not here: one
 * that was replaced must not come back where JWT_SECRET_KEY still holds it, and only their rows tell.
 */
const OVER = {
  user_sessions: sql`least(expires_at, revoked_at) < now() - interval '90 days'`,
  api_keys: sql`least(expires_at, revoked_at) < now() - interval '90 days'`,
  invitations: sql`coalesce(used_at, expires_at) < now() - interval '30 days'`,
  request_counts: sql`minute < extract(epoch from now()) / 60 - 10`,
  login_failures: sql`last_at < now() - interval '1 day'`,
  token_usage: sql`day < (now() at time zone 'utc')::date - 90`,
};

/** Takes away what nobody asks for any more, at most `limit` rows of each table. Several processes may do it at once. */
export async function prune(db: Db, limit = BATCH): Promise<void> {
  for (const [table, isOver] of Object.entries(OVER))
    await sql`delete from ${sql.table(table)} where ctid = any(array(
      select ctid from ${sql.table(table)} where ${isOver} limit ${limit} for update skip locked))`.execute(db);
}

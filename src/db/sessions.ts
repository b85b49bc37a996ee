import { type Selectable, sql, type Transaction } from 'kysely';
import type { Db } from './connect.ts';
import { pageOf } from './page.ts';
import type { Database, UserSessionTable } from './schema.ts';
import type { UserRow } from './users.ts';

export type SessionRow = Selectable<UserSessionTable>;

/** Stores a session and the time of the login; call it inside a transaction. */
export async function insertSession(
  db: Transaction<Database>,
  session: {
    id: string;
    user_id: string;
    token_hash: Buffer;
    user_agent: string | null;
    address: string | null;
    expires_at: Date;
  },
): Promise<void> {
  await db.insertInto('user_sessions').values(session).execute();
  await db.updateTable('users').set({ last_login_at: sql<Date>`now()` }).where('id', '=', session.user_id).execute();
}

/** Whether a user logged in from this network (an address, or a CIDR) within the last 90 days; nobody did where there is no user. */
export async function wasLoggedInFrom(db: Db, userId: string | null, network: string | null): Promise<boolean> {
  const { rows } = await sql<{ was: boolean }>`
    select exists (select 1 from user_sessions where user_id = ${userId}::uuid and address <<= ${network}::inet
      and created_at > now() - interval '90 days') as was`.execute(db);
  return rows[0]?.was === true;
}

/**
 * Puts a new refresh token in the place of the one presented. Exactly one of several callers with the same token wins.
 * Answers the session and its user, or `undefined` when the token is not the present one of a live session of an active user.
 */
export async function rotateSession(
  db: Db,
  presented: Buffer,
  next: Buffer,
): Promise<{ session: SessionRow; user: UserRow } | undefined> {
  const { rows } = await sql<SessionRow & { user: UserRow }>`
    update user_sessions s set token_hash = ${next}, previous_token_hash = ${presented}, rotated_at = now(), last_used_at = now()
    from users u
    where s.token_hash = ${presented} and s.revoked_at is null and s.expires_at > now() and u.id = s.user_id and u.is_active
    returning s.*, to_jsonb(u) as user`.execute(db);
  const row = rows[0];
  if (!row) return undefined;
  const { user, ...session } = row;
  // Inside JSON, times are text as Postgres writes it.
  const { created_at, updated_at, last_login_at } = user;
  const times = {
    created_at: new Date(created_at),
    updated_at: new Date(updated_at),
    last_login_at: last_login_at && new Date(last_login_at),
  };
  return { session, user: { ...user, ...times } };
}

/** How a token that could not be rotated stands to its session. */
export type TokenStanding = 'present' | 'just_rotated' | 'old';

/**
 * Compares a token that was once given out for a session with the session as it is: `just_rotated` is the one before the
 * present one for the first `graceSeconds` after the change, by the clock of the database. `undefined` where the session is gone.
 */
export async function findTokenStanding(
  db: Db,
  sessionId: string,
  presented: Buffer,
  graceSeconds: number,
): Promise<TokenStanding | undefined> {
  const { rows } = await sql<{ standing: TokenStanding }>`
    select case
        when token_hash = ${presented} then 'present'
        when previous_token_hash = ${presented} and rotated_at > now() - ${graceSeconds}::int * interval '1 second' then 'just_rotated'
        else 'old'
      end as standing
    from user_sessions where id = ${sessionId}`.execute(db);
  return rows[0]?.standing;
}

/** Which sessions are meant: one, one of this user, or all of this user but one. */
export type WhichSessions = { id: string; userId?: string } | { userId: string; except?: string };

/** Ends sessions; a trigger tells every process within a second. */
export async function revokeSessions(db: Db, which: WhichSessions, reason: string): Promise<string[]> {
  const rows = await db
    .updateTable('user_sessions')
    .set({ revoked_at: sql<Date>`now()`, revoked_reason: reason })
    .where('revoked_at', 'is', null)
    .where(
      'id' in which
        ? sql<boolean>`id = ${which.id} and user_id = coalesce(${which.userId ?? null}::uuid, user_id)`
        : sql<boolean>`user_id = ${which.userId} and id is distinct from ${which.except ?? null}::uuid`,
    )
    .returning('id')
    .execute();
  return rows.map(({ id }) => id);
}

/** A page of the sessions of a user that can still be used, newest first. */
export async function listSessions(
  db: Db,
  userId: string,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: SessionRow[]; next: string | null }> {
  const rows = await db
    .selectFrom('user_sessions')
    .selectAll()
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', sql<Date>`now()`)
    .$if(cursor !== undefined, (query) => query.where('id', '<', cursor as string))
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return pageOf(rows, limit);
}

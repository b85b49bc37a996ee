import { sql } from 'kysely';
import type { Db } from './connect.ts';
import type { UserLimitTable } from './schema-limits.ts';

/** What a user may use; `null` stands for what everybody has, 0 for no limit. */
export type UserLimits = Omit<UserLimitTable, 'user_id'>;

/** The channel on which processes hear whose limits were changed; the payload is the id of the user. A trigger says it. */
export const LIMITS_CHANNEL = 'sutazai_limits';

/** Changes the limits that are given and leaves the others as they are. */
export async function setUserLimits(db: Db, userId: string, limits: Partial<UserLimits>): Promise<void> {
  if (Object.keys(limits).length === 0) return;
  await db
    .insertInto('user_limits')
    .values({ user_id: userId, ...limits } as UserLimitTable)
    .onConflict((conflict) => conflict.column('user_id').doUpdateSet(limits))
    .execute();
}

/** The limits of a user who has some of their own. */
export async function findUserLimits(db: Db, userId: string): Promise<UserLimitTable | undefined> {
  return db.selectFrom('user_limits').selectAll().where('user_id', '=', userId).executeTakeFirst();
}

/** The limits of everybody who has some of their own. */
export async function listUserLimits(db: Db): Promise<UserLimitTable[]> {
  return db.selectFrom('user_limits').selectAll().execute();
}

/** How much of two limits a user has used. */
export interface Used {
  /** Tasks that wait, scheduled ones included; not counted beyond `upTo`. */
  waiting: number;
  /** Tokens since midnight, UTC. */
  tokens: number;
}

/** Reads how much users have used. The cost is bounded by `upTo`, not by how many tasks wait; 0 does not count at all. */
export async function findUsed(db: Db, users: Array<{ userId: string; upTo: number }>): Promise<Used[]> {
  const { rows } = await sql<{ n: string; waiting: number; tokens: number }>`
    select u.n, w.waiting, coalesce(d.tokens, 0)::float8 as tokens
    from unnest(${users.map(({ userId }) => userId)}::uuid[], ${users.map(({ upTo }) => upTo)}::int[])
      with ordinality as u(id, up_to, n)
    cross join lateral (
      select count(*)::int as waiting from (
        select 1 from tasks where user_id = u.id and status in ('scheduled', 'pending') limit u.up_to
      ) one
    ) w
    left join token_usage d on d.user_id = u.id and d.day = (now() at time zone 'utc')::date
    order by u.n`.execute(db);
  return rows.map(({ waiting, tokens }) => ({ waiting, tokens }));
}

/** Adds tokens to what a user has used today, for calls of models that belong to no task. */
export async function addTokens(db: Db, userId: string, tokens: number): Promise<void> {
  if (tokens === 0) return;
  await sql`
    insert into token_usage as u (user_id, day, tokens) values (${userId}, (now() at time zone 'utc')::date, ${tokens})
    on conflict (user_id, day) do update set tokens = u.tokens + excluded.tokens`.execute(db);
}

/**
 * Adds to the requests of subjects in this minute (counted since 1970), and answers how many there are by all processes.
 * Where the clock of another process is already in the next minute, they are counted there.
 */
export async function addRequests(
  db: Db,
  minute: number,
  added: ReadonlyMap<string, number>,
): Promise<Map<string, number>> {
  // Rows are locked in the order of their names, so that two processes never wait for each other.
  const { rows } = await sql<{ subject: string; requests: number }>`
    insert into request_counts as c (subject, minute, requests)
    select subject, ${minute}::int, requests from unnest(${[...added.keys()]}::text[], ${[...added.values()]}::int[])
      as given(subject, requests) order by subject
    on conflict (subject) do update set minute = greatest(c.minute, excluded.minute),
      requests = excluded.requests + case when c.minute >= excluded.minute then c.requests else 0 end
    returning subject, requests`.execute(db);
  return new Map(rows.map(({ subject, requests }) => [subject, requests]));
}

import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { type Claim, type ClaimedTask, claimable, claimedColumns, runningLimit, startAttempt } from './claim.ts';

/** A task that may not run yet, because so many of its user do. */
export interface HeldBack {
  waitMs: number;
}

/** Spells `sutu`; apart from the locks of others. */
const USER_LOCK = 0x73757475;
/**
 * What is held back comes again after up to 20 ms for each task that its user has waiting: all together at most about 100 times
 * a second, so that workers are not kept busy by it. Of more than are counted, each comes every 50 seconds on average.
 */
const SPREAD_MS = 20;
const MIN_WAIT_MS = 500;
const COUNTED = 5_000;
/** How long somebody else may hold what is needed here, and how long our side may say nothing between two statements. */
const LOCK_MS = 1_000;
const IDLE_MS = 2_000;
const LOCK_NOT_AVAILABLE = '55P03';

/**
 * Takes what `claimTasks` left because its user has a limit of running tasks: never more than that many run. What is beyond
 * stays as it is and answers when its job should come again; so does all of it where another worker is at the same users for
 * too long. What cannot be started at all answers `undefined`.
 * @param everybody the limit of those who have none of their own; 0 is none
 */
export async function claimLimited(
  db: Db,
  worker: string,
  leaseMs: number,
  claims: Claim[],
  everybody: number,
): Promise<Array<ClaimedTask | HeldBack | undefined>> {
  try {
    return await takeLimited(db, worker, leaseMs, claims, everybody);
  } catch (error) {
    if ((error as { code?: unknown }).code !== LOCK_NOT_AVAILABLE) throw error;
    return claims.map(() => heldBack(claims.length));
  }
}

async function takeLimited(
  db: Db,
  worker: string,
  leaseMs: number,
  claims: Claim[],
  everybody: number,
): Promise<Array<ClaimedTask | HeldBack | undefined>> {
  const ids = claims.map(({ id }) => id);
  const asked = sql`(select distinct * from unnest(${ids}::uuid[], ${claims.map(({ generation }) => generation)}::int[]) as c(id, generation)) c`;
  return db.transaction().execute(async (trx) => {
    // A worker that is cut off or stands still in here must not keep the others from their claims.
    await sql`select set_config('lock_timeout', ${String(LOCK_MS)}, true),
      set_config('idle_in_transaction_session_timeout', ${String(IDLE_MS)}, true)`.execute(trx);
    // Who claims for the same user waits here; a count that was read before would not see what the other took.
    const { rows: locked } = await sql<{ user_id: string }>`
      select user_id, pg_advisory_xact_lock(${USER_LOCK}::int, key) from (
        select distinct t.user_id, hashtext(t.user_id::text) as key from ${asked} join tasks t on ${claimable}
        order by key, user_id
      ) u`.execute(trx);
    const users = locked.map(({ user_id }) => user_id);
    if (users.length === 0) return claims.map(() => undefined);

    const { rows: taken } = await sql<ClaimedTask>`
      with room as (
        select u.id, case when m.most = 0 then 'infinity'::float8 else m.most - (
          select count(*) from tasks r where r.user_id = u.id and r.status in ('running', 'cancelling')) end as free
        from unnest(${users}::uuid[]) as u(id),
          lateral (select ${runningLimit('u.id', everybody)} as most) as m
      ), line as (
        select t.id, room.free, row_number() over (
          partition by t.user_id order by t.priority, coalesce(t.queued_at, t.ready_at), t.id) as place
        from ${asked} join tasks t on ${claimable} join room on room.id = t.user_id
      ), first as (
        select t.id from ${asked} join line on line.id = c.id and line.place <= line.free join tasks t on ${claimable}
        order by t.id for update of t
      )
      update tasks t set ${startAttempt(worker, leaseMs)} from first where t.id = first.id
      returning ${claimedColumns}`.execute(trx);

    const { rows: left } = await sql<Claim & { waiting: number }>`
      select t.id, t.generation, w.waiting from unnest(${users}::uuid[]) as u(id)
      cross join lateral (
        select count(*)::int as waiting from (
          select 1 from tasks where user_id = u.id and status in ('scheduled', 'pending') limit ${COUNTED}::int) one
      ) w
      join tasks t on t.user_id = u.id join ${asked} on ${claimable}`.execute(trx);

    const byJob = new Map<string, ClaimedTask | HeldBack>();
    for (const { waiting, ...job } of left) byJob.set(nameOf(job), heldBack(waiting));
    for (const task of taken) byJob.set(nameOf(task), task);
    return claims.map((claim) => {
      const found = byJob.get(nameOf(claim));
      // A second job of the same task in this batch must not get the same attempt.
      byJob.delete(nameOf(claim));
      return found;
    });
  });
}

const heldBack = (waiting: number): HeldBack => ({
  waitMs: Math.round(MIN_WAIT_MS + Math.random() * waiting * SPREAD_MS),
});

const nameOf = ({ id, generation }: Claim) => `${id} ${generation}`;

import { sql, type Transaction } from 'kysely';
import type { Db } from '../connect.ts';
import type { Database } from '../schema.ts';
import { besideKey, type Claim, type ClaimedTask, claimable, claimedColumns, startAttempt } from './claim.ts';
import {
  briefTransaction,
  callTasks,
  type HoldOptions,
  isHeldElsewhere,
  keysOf,
  linesOf,
  listHeads,
  lockUsers,
  readRoom,
  standingColumns,
} from './holds.ts';
import { giveSeats, type Standing } from './seats.ts';
import { deliveriesToSend, tellOfStart } from './transition.ts';
import type { Waiting } from './waiting.ts';

/** A task that was started, and the webhook deliveries that tell of it. */
export interface ToldTask extends ClaimedTask {
  deliveries: string[] | null;
}

/** A task whose claim could not be decided, because another worker was at its user for too long. */
export interface HeldBack {
  waitMs: number;
}

/** What became of claims, in their order. */
export interface LimitedClaims {
  claimed: Array<ToldTask | HeldBack | undefined>;
  /** Who wants a job now, because a place was found for them. */
  called: Waiting[];
  /** What is held back from now on: whoever gave a place free meanwhile did not see it, so its lines are to be looked at again. */
  held: Standing[];
}

const MIN_WAIT_MS = 500;
/** Over how long they spread who could not be served, for each of them. */
const SPREAD_MS = 20;

/**
 * Takes what `claimTasks` left, and tells webhooks of it in the same statement. Where the user or the key has a limit of running
 * tasks, never more than that many run, over all workers, and never one before another that stands before it. What finds no place is held back: it is answered as
 * `undefined`, like what cannot be started at all, and called once there is a place.
 */
export async function claimLimited(
  db: Db,
  worker: string,
  leaseMs: number,
  claims: Claim[],
  options: HoldOptions,
): Promise<LimitedClaims> {
  try {
    return await briefTransaction(db, (trx) => takeLimited(trx, worker, leaseMs, claims, options));
  } catch (error) {
    if (!isHeldElsewhere(error)) throw error;
    return { claimed: claims.map(() => heldBack(claims.length)), called: [], held: [] };
  }
}

async function takeLimited(
  trx: Transaction<Database>,
  worker: string,
  leaseMs: number,
  claims: Claim[],
  options: HoldOptions,
): Promise<LimitedClaims> {
  const ids = claims.map(({ id }) => id);
  const jobs = sql`(select distinct * from unnest(${ids}::uuid[], ${claims.map(({ generation }) => generation)}::int[]) as c(id, generation)) c`;
  const users = await lockUsers(trx, sql`select t.user_id as id from ${jobs} join tasks t on ${claimable}`);
  if (users.length === 0) return { claimed: claims.map(() => undefined), called: [], held: [] };

  const { rows: asked } = await sql<Standing>`
    select ${standingColumns} from ${jobs} join tasks t on ${claimable} and ${besideKey(sql`t.user_id = any(${users}::uuid[])`)}
    order by t.id for update of t`.execute(trx);
  const theirs = asked.map(({ id }) => id);
  const heads = (await listHeads(trx, linesOf(asked))).filter(({ id }) => !theirs.includes(id));
  const room = await readRoom(trx, users, keysOf([...asked, ...heads]), theirs, options);
  const { start, hold, call } = giveSeats(asked, heads, room, options.agingMs);

  const { rows: taken } = await sql<ToldTask>`
    with moved as (
      update tasks t set ${startAttempt(worker, leaseMs)} where t.id = any(${start.map(({ id }) => id)}::uuid[])
      returning t.*
    ), ${tellOfStart('moved')}
    select ${claimedColumns}, ${deliveriesToSend('t')} from moved t`.execute(trx);
  if (hold.length > 0)
    await sql`
      update tasks t set held_by = h.by, called = false
      from unnest(${hold.map(({ task }) => task.id)}::uuid[], ${hold.map(({ by }) => by)}::text[]) as h(id, by)
      where t.id = h.id`.execute(trx);
  const called = await callTasks(trx, call);

  const byJob = new Map(taken.map((task) => [nameOf(task), task]));
  const claimed = claims.map((claim) => {
    const found = byJob.get(nameOf(claim));
    // A second job of the same task in this batch must not get the same attempt.
    byJob.delete(nameOf(claim));
    return found;
  });
  return { claimed, called, held: hold.map(({ task }) => task) };
}

const heldBack = (claims: number): HeldBack => ({
  waitMs: Math.round(MIN_WAIT_MS + Math.random() * claims * SPREAD_MS),
});

const nameOf = ({ id, generation }: Claim) => `${id} ${generation}`;

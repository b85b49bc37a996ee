import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { Owner } from './read.ts';
import { announce, insertDeliveries, type Transition } from './transition.ts';

/** Who may be meant by an owner, as a condition on `tasks`. */
function owned(owner: Owner) {
  return owner === 'any' ? sql`true` : sql`user_id = ${owner.userId}`;
}

/**
 * Cancels a task: waiting → cancelled at once, running → cancelling, which its worker hears of.
 * Answers `undefined` when it is not there, not the owner's, or neither waits nor runs.
 */
export async function cancelTask(db: Db, owner: Owner, id: string, reason: string): Promise<Transition | undefined> {
  const { rows } = await sql<Transition>`
    with moved as (
      update tasks set
        status = case when status = 'running' then 'cancelling' else 'cancelled' end,
        completed_at = case when status <> 'running' then now() end, cancel_reason = ${reason}
      where id = ${id} and ${owned(owner)} and status in ('scheduled', 'pending', 'running')
      returning *
    ), ${insertDeliveries('moved')}
    ${announce('moved')}`.execute(db);
  return rows[0];
}

/**
 * Starts an ended task again, as a new attempt in a new generation with a fresh budget.
 * Answers `undefined` when it is not there, not the owner's, or has not ended.
 */
export async function retryTask(db: Db, owner: Owner, id: string): Promise<Transition | undefined> {
  const { rows } = await sql<Transition>`
    with moved as (
      update tasks set status = 'pending', generation = generation + 1, failures = 0, losses = 0, output = null,
        error = null, progress = null, cancel_reason = null, completed_at = null, expires_at = null, ready_at = now(), queued_at = null
      where id = ${id} and ${owned(owner)} and status in ('completed', 'failed', 'cancelled', 'expired')
      returning *
    ), ${insertDeliveries('moved')}
    ${announce('moved')}`.execute(db);
  return rows[0];
}

/** Cancels what a user has waiting and running, as {@link cancelTask} does, at most `limit` a call. */
export async function cancelTasksOfUser(db: Db, userId: string, reason: string, limit: number): Promise<Transition[]> {
  const { rows } = await sql<Transition>`
    with mine as (
      select id from tasks where user_id = ${userId} and status in ('scheduled', 'pending', 'running')
      order by id limit ${limit} for update
    ), moved as (
      update tasks t set
        status = case when t.status = 'running' then 'cancelling' else 'cancelled' end,
        completed_at = case when t.status <> 'running' then now() end, cancel_reason = ${reason}
      from mine where t.id = mine.id
      returning t.*
    ), ${insertDeliveries('moved')}
    ${announce('moved')}`.execute(db);
  return rows;
}

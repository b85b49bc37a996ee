import { type RawBuilder, sql } from 'kysely';
import type { Lane } from '../../tasks/lanes.ts';
import type { Db } from '../connect.ts';
import { restartRuns } from '../workflows/ends.ts';
import { BY_LANE } from './backlog.ts';
import { type Owner, owned } from './filter.ts';
import { canBeStopped, isReleased, stopTasks } from './stop.ts';
import { announce, insertDeliveries, type Transition } from './transition.ts';

/**
 * A part belongs to what it is part of until that has ended. A workflow whose task was cancelled has ended once it has stopped its
 * parts, or it would stop this one again.
 */
const canBeRetried = sql`t.status in ('completed', 'failed', 'cancelled', 'expired') and t.payload_deleted_at is null
  and ${isReleased} and not exists (select from workflow_runs r where r.workflow_id = t.parent_id and r.phase <> 'ended')`;

/** Who asked for it, by name, for the timeline; `null` where that is not a user. */
type By = string | null;

/** Starts ended tasks again. @param those a condition on `tasks t` @param full the lanes in whose backlog they are to wait */
async function retry(db: Db, those: RawBuilder<unknown>, by: By, full: readonly Lane[] = []): Promise<Transition[]> {
  // The end that is taken back stands in no row from now on but in that of the retry.
  const { rows } = await sql<Transition>`
    with before as (
      select t.id, t.status, t.completed_at, t.cancel_reason, t.error from tasks t
      where ${those} and ${canBeRetried} order by t.id for update
    ), moved as (
      update tasks set status = 'pending', generation = generation + 1, failures = 0, losses = 0, output = null,
        error = null, progress = null, cancel_reason = null, completed_at = null, expires_at = null, ready_at = now(), queued_at = null,
        held_by = case when lane = any(${full}::text[]) then ${BY_LANE} end, called = false, life = life + 1
      where id in (select id from before)
      returning *
    ), ${restartRuns('before')}, forgotten as (
      delete from task_memos using before where task_id = before.id
    ), given_back as (
      update agent_calls c set ended_at = clock_timestamp() from before where c.task_id = before.id and c.kept and c.ended_at is null
    ), recorded as (
      insert into task_events (task_id, attempt, type, data)
      select id, moved.attempt, 'retried', jsonb_build_object('by', ${by}::text, 'status', before.status, 'error', before.error,
        'reason', before.cancel_reason, 'ended_at', before.completed_at) from moved join before using (id)
    ), ${insertDeliveries('moved')}
    ${announce('moved')}`.execute(db);
  return rows;
}

/** A task that was cancelled, and what was cancelled with it: the tasks that are parts of it. */
export type Cancelled = Transition & { parts: Transition[] };

/**
 * Cancels a task, and with it its parts: waiting or parked → cancelled at once, running → cancelling, which its worker hears of.
 * Answers `undefined` when it is not there, not the owner's, or neither waits nor runs.
 */
export async function cancelTask(
  db: Db,
  owner: Owner,
  id: string,
  reason: string,
  by: By = null,
): Promise<Cancelled | undefined> {
  const moved = await cancelTasks(db, owner, [id], reason, by);
  const own = moved.find((one) => one.id === id);
  return own && { ...own, parts: moved.filter((one) => one !== own) };
}

/** Cancels those of these tasks that are the owner's and wait or run, as {@link cancelTask} does; answers their parts too. */
export function cancelTasks(db: Db, owner: Owner, ids: string[], reason: string, by: By): Promise<Transition[]> {
  const those = sql`select t.id from tasks t where t.id = any(${ids}::uuid[]) and ${owned(owner)} and ${canBeStopped}`;
  return stopTasks(db, those, { reason, by });
}

/** The tasks of a user with the same concurrency key, and how many of them may be there. */
export interface KeyLimit {
  user_id: string;
  key: string;
  most: number;
}

/** Cancels, as {@link cancelTask} does, the oldest tasks of each key beyond so many, those that are being cancelled not counted. */
export function supersedeTasks(db: Db, keys: KeyLimit[]): Promise<Transition[]> {
  // All keys at once: one after the other, their rows would not be locked in the order of ids.
  const beyond = sql`select id from tasks where id in (
      select older.id from json_to_recordset(${JSON.stringify(keys)}::json) as g(user_id uuid, key text, most int), lateral (
        select t.id from tasks t where t.user_id = g.user_id and t.concurrency_key = g.key and ${canBeStopped}
        order by t.id desc offset g.most) as older)`;
  return stopTasks(db, beyond, { reason: 'superseded', by: null });
}

/** Cancels what a user has waiting and running, as {@link cancelTask} does, at most `limit` a call. */
export function cancelTasksOfUser(db: Db, userId: string, reason: string, limit: number): Promise<Transition[]> {
  const mine = sql`select t.id from tasks t where t.user_id = ${userId} and ${canBeStopped} order by t.id limit ${limit}`;
  return stopTasks(db, mine, { reason, by: null });
}

/**
 * Starts an ended task again, as a new attempt in a new generation with a fresh budget.
 * Answers `undefined` when it is not there, not the owner's, has not ended, has no input any more, or is
 * part of a task that has not ended.
 * @param full the lanes in whose backlog it is to wait
 */
export async function retryTask(
  db: Db,
  owner: Owner,
  id: string,
  by: By = null,
  full: readonly Lane[] = [],
): Promise<Transition | undefined> {
  return (await retry(db, sql`t.id = ${id} and ${owned(owner)}`, by, full))[0];
}

/**
 * Starts those of these tasks again, as {@link retryTask} does, that had ended when the task `since` was accepted. What is part of another
 * one of them is that one's to run again.
 * @param full the lanes in whose backlog they are to wait
 */
export function retryTasks(
  db: Db,
  owner: Owner,
  ids: string[],
  since: string,
  by: By,
  full: readonly Lane[] = [],
): Promise<Transition[]> {
  const those = sql`t.id = any(${ids}::uuid[]) and ${owned(owner)} and (t.parent_id = any(${ids}::uuid[])) is not true
    and t.completed_at <= (select b.created_at from tasks b where b.id = ${since})`;
  return retry(db, those, by, full);
}

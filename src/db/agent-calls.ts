import { sql, type Transaction } from 'kysely';
import type { Db } from './connect.ts';
import type { Database } from './schema.ts';

/** How many calls of an agent may be under way at a time, and begin within a minute; `null` is no limit. */
export interface CallLimits {
  concurrency: number | null;
  perMinute: number | null;
}

/** How a place is given. */
export interface Giving extends CallLimits {
  /** One at a time tries whether the agent is back; what it goes on with since before is no such try. */
  trial: boolean;
}

/** An attempt that wants to call an agent. */
export interface NewCall {
  id: string;
  agent_id: string;
  task_id: string;
  attempt: number;
}

/**
 * Whether a place (`c`) is still taken. It hangs on the lease of its attempt, so it is free again when a worker dies; one that
 * is kept hangs on its task, whose next attempt may wait in line or only ask how far the agent is.
 */
export const isTaken = sql<boolean>`(c.ended_at is null and exists (
  select from tasks t where t.id = c.task_id and case when c.kept then t.status in ('pending', 'running', 'cancelling')
    else t.status in ('running', 'cancelling') and t.attempt = c.attempt and t.lease_until > now() end))`;

/** What came of asking for a place. */
export interface Given {
  given: boolean;
  /**
   * Places that other tasks have: one that an agent was called for by way of another agent does not wait for itself. Not
   * counted where there is no limit, and no further than that.
   */
  running: number;
  /** Where the rate is used up, when the first of those calls is a minute old. */
  free_at: Date | null;
}

/**
 * Takes a place of an agent if there is one. Whoever asks holds the health of the agent, so all who ask come one by one.
 * @param trx in which that lock was taken by a statement before this one, whose snapshot would be too old for the counts
 */
export async function insertCall(trx: Transaction<Database>, call: NewCall, giving: Giving): Promise<Given> {
  const { concurrency, perMinute, trial } = giving;
  const others = sql`from agent_calls c where agent_id = ${call.agent_id} and task_id <> ${call.task_id} and ${isTaken}`;
  const { rows } = await sql<Given>`
    with gone as (
      -- What is kept is left alone: there may be very much of it. What of it belongs to nobody any more goes with the day.
      delete from agent_calls where ctid = any(array(
        (select ctid from agent_calls where agent_id = ${call.agent_id} and ended_at is not null
          and at < now() - interval '1 minute' order by at limit 100)
        union all (select ctid from agent_calls c where agent_id = ${call.agent_id} and ended_at is null and not kept
          and at < now() - interval '1 minute' and not ${isTaken} limit 100)))
    ), found as (
      select ${concurrency === null ? sql`0` : sql`(select count(*)::int from (select ${others} limit ${concurrency}) few)`} as running,
        ${trial ? sql`exists (select ${others} and not c.kept)` : sql`false`} as tried,
        (select at + interval '1 minute' from agent_calls where agent_id = ${call.agent_id}
          and at > clock_timestamp() - interval '1 minute' and ${perMinute}::int is not null
          order by at desc offset greatest(${perMinute}::int, 1) - 1 limit 1) as free_at
    ), added as (
      insert into agent_calls (id, agent_id, task_id, attempt)
      select ${call.id}, ${call.agent_id}, ${call.task_id}, ${call.attempt}::int from found
      where free_at is null and not tried
        and (${concurrency}::int is null or running < ${concurrency}::int)
      returning id
    ), replaced as (
      -- It has another place now than the one that it kept in an earlier attempt.
      update agent_calls set ended_at = clock_timestamp() where agent_id = ${call.agent_id} and task_id = ${call.task_id}
        and attempt < ${call.attempt}::int and kept and ended_at is null and exists (select from added)
    )
    select running, free_at, exists (select from added) as given from found`.execute(trx);
  return rows[0] as Given;
}

/** Gives a place back. */
export async function endCall(db: Db, id: string): Promise<void> {
  await sql`update agent_calls set ended_at = clock_timestamp() where id = ${id} and ended_at is null`.execute(db);
}

/** Gives back what a task kept of an agent; answers for how many ms it had it, `undefined` where it had nothing. */
export async function endKeptCalls(db: Db, agentId: string, taskId: string): Promise<number | undefined> {
  const { rows } = await sql<{ ms: number }>`update agent_calls set ended_at = clock_timestamp()
    where agent_id = ${agentId} and task_id = ${taskId} and kept and ended_at is null
    returning (extract(epoch from ended_at - at) * 1000)::float8 as ms`.execute(db);
  return rows.length === 0 ? undefined : Math.max(...rows.map(({ ms }) => ms));
}

/** Keeps a place until it is given back or its task ends. */
export async function keepCall(db: Db, id: string): Promise<void> {
  await sql`update agent_calls set kept = true where id = ${id}`.execute(db);
}

/** A common table expression that notes of which of the tasks in `source` (rows of `tasks`) an agent goes on with something that is not wanted any more. */
export function noteStops(source: string) {
  const m = sql.ref(source);
  return sql`stopped_calls as (
      update agent_calls c set stop = true from ${m} m
      where c.task_id = m.id and c.kept and c.ended_at is null and m.completed_at is not null
    )`;
}

/** What an agent was at work on for a task that was cancelled, and what was kept of that. */
export interface StoppedCall {
  agent_id: string;
  task_id: string;
  /** What was kept for the attempts to come. */
  kept: unknown[];
}

/** Takes such calls; each is answered once. */
export async function takeStoppedCalls(db: Db, limit: number): Promise<StoppedCall[]> {
  const { rows } = await sql<StoppedCall>`
    with taken as (
      update agent_calls c set ended_at = clock_timestamp() from (
        select id from agent_calls where stop and ended_at is null order by at limit ${limit} for update skip locked) one
      where c.id = one.id returning c.agent_id, c.task_id
    )
    select agent_id, task_id, array(
      select value -> 'state' from task_memos m where m.task_id = taken.task_id and m.kind = 'call' and m.name like '%.awaiting'
        and value ->> 'agentId' = agent_id::text) as kept
    from taken`.execute(db);
  return rows;
}

import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { Status } from '../schema.ts';
import { besideKey, isHeld } from './claim.ts';
import { isHeard, sayChanged, tellOfProgress } from './transition.ts';

export * from './claim.ts';
export * from './settle.ts';

/** One running attempt, as its worker holds it. */
export interface Held {
  id: string;
  attempt: number;
}

/** Prolongs leases. What is missing in the answer is lost to its worker; `cancelling` asks it to stop. */
export async function renewLeases(
  db: Db,
  leaseMs: number,
  held: Held[],
): Promise<Array<Held & { status: Status; cancel_reason: string | null }>> {
  // Rows are locked in the order of their ids, as settling locks them, so that the two never wait for each other.
  const { rows } = await sql<Held & { status: Status; cancel_reason: string | null }>`
    with h as (
      select t.id from tasks t
      join unnest(${held.map(({ id }) => id)}::uuid[], ${held.map(({ attempt }) => attempt)}::int[]) as g(id, attempt)
        on t.id = g.id and t.attempt = g.attempt and ${besideKey(isHeld)}
      order by t.id for update of t
    )
    update tasks t set lease_until = now() + ${leaseMs}::int * interval '1 millisecond'
    from h where t.id = h.id
    returning t.id, t.attempt, t.status, t.cancel_reason`.execute(db);
  return rows;
}

/** How far an attempt is. */
export interface ProgressUpdate extends Held {
  percent: number | null;
  message: string | null;
}

/** What a running attempt said: how far it is, or a line for whoever reads its events. */
export interface Said extends Held {
  type: 'progress' | 'log';
  data: Record<string, unknown>;
}

/**
 * Writes how far running attempts are, and what of it the timeline keeps; late writers of older attempts change nothing.
 * Answers the ids of the tasks whose webhooks want to hear how far they are: {@link tellProgress} is for those.
 * @param said in the order in which it was said
 */
export async function writeProgress(db: Db, updates: ProgressUpdate[], said: Said[] = []): Promise<string[]> {
  const speaking = [...updates, ...said];
  const kept =
    said.length === 0
      ? sql``
      : sql`, kept as (
      insert into task_events (task_id, attempt, type, data)
      select t.id, t.attempt, g.type, g.data from rows from (json_to_recordset(${JSON.stringify(said)}::json)
        as (id uuid, attempt integer, type text, data jsonb)) with ordinality as g(id, attempt, type, data, place)
      join held t on t.id = g.id and t.attempt = g.attempt order by g.place
    )`;
  const { rows } = await sql<{ id: string; heard: boolean | null }>`
    with held as (
      select t.id, t.attempt, t.streamed from tasks t
      join (select distinct * from unnest(${speaking.map(({ id }) => id)}::uuid[],
        ${speaking.map(({ attempt }) => attempt)}::int[]) as one(id, attempt)) g
        on t.id = g.id and t.attempt = g.attempt and ${besideKey(isHeld)} and t.status = 'running'
      order by t.id for update of t
    ), written as (
      update tasks t set progress = jsonb_build_object('percent', g.percent, 'message', g.message)
      from held h join json_to_recordset(${JSON.stringify(updates)}::json)
        as g(id uuid, attempt integer, percent real, message text) on h.id = g.id and h.attempt = g.attempt
      where t.id = h.id
      returning t.id, ${isHeard('t', 'task.progress')} as heard
    )${kept}
    select t.id, w.heard, case when t.id = any(${said.map(({ id }) => id)}::uuid[]) then ${sayChanged('t')} end
    from held t left join written w on w.id = t.id`.execute(db);
  return rows.flatMap(({ id, heard }) => (heard ? [id] : []));
}

/**
 * Writes how far running attempts are with the webhook deliveries that tell of it; answers the ids of those.
 * @param updates `first` where no progress of the attempt was told before
 */
export async function tellProgress(db: Db, updates: Array<ProgressUpdate & { first: boolean }>): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with p as (
      select t.id, g.percent, g.message, g.first from tasks t
      join json_to_recordset(${JSON.stringify(updates)}::json)
        as g(id uuid, attempt integer, percent real, message text, first boolean)
        on t.id = g.id and t.attempt = g.attempt and ${besideKey(isHeld)} and t.status = 'running'
      order by t.id for update of t
    ), moved as (
      update tasks t set progress = jsonb_build_object('percent', p.percent, 'message', p.message)
      from p where t.id = p.id
      returning t.id, t.user_id, t.attempt, t.webhook, t.progress, p.first
    ), ${tellOfProgress('moved')}
    select id from told`.execute(db);
  return rows.map(({ id }) => id);
}

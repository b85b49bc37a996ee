import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { Status, StoredError } from '../schema.ts';

/** Something that happened to a task. */
export interface TimelineRow {
  /** Sorts by time, and names the same event in every process: see {@link isEventId}. */
  id: string;
  at: Date;
  type:
    | 'accepted'
    | 'queued'
    | 'started'
    | 'progress'
    | 'log'
    | 'step'
    | 'resumed'
    | 'cancel_requested'
    | 'attempt_ended'
    | 'webhook'
    | 'ended'
    | 'retried';
  /** Where the task stood after it, where that changed. */
  status: Status | null;
  attempt: number;
  data: EventData;
}

/** What is known of an event beside that; which fields are there depends on its type. */
export interface EventData {
  /** The name of the user who did it. */
  by?: string | null;
  reason?: string | null;
  outcome?: string;
  error?: StoredError | null;
  percent?: number | null;
  message?: string | null;
  level?: string;
  fields?: Record<string, unknown> | null;
  /** Of a part of the task that is done: its name, what kind of part it is, and how long it took. */
  name?: string;
  kind?: string;
  ms?: number;
  delivery_id?: string;
  event?: string;
  url?: string;
  http_status?: number | null;
  failure?: string | null;
  latency_ms?: number;
}

/** Where a task stands, and what happened to it after an event; more is left where as many came as were asked for. */
export interface Look {
  status: Status;
  attempt: number;
  /** The event of its end, where it has ended. */
  endId: string | null;
  events: TimelineRow[];
}

/** A task, and the event after which to look; from the beginning where that is `null`. */
export interface Asked {
  id: string;
  after: string | null;
}

const EVENT_ID = /^\d{1,17}-\d-\d{1,18}$/;

/**
 * Whether a text is spelled like the id of an event: microseconds since 1970, a rank among events of the same time, and a
 * number among those of the same rank.
 */
export function isEventId(text: string): boolean {
  return EVENT_ID.test(text);
}

/** Whether one event comes after another. */
export function isAfter(a: string, b: string): boolean {
  const [x, y] = [a.split('-').map(BigInt), b.split('-').map(BigInt)];
  const at = x.findIndex((part, index) => part !== y[index]);
  return at >= 0 && (x[at] as bigint) > (y[at] as bigint);
}

/** The events of one task `t`. Where it was started a moment before it was due, it was queued then. */
const EVENTS = `
  select t.created_at as at, 0 as rank, 0::bigint as n, 'accepted' as type, 0 as attempt,
    case when t.scheduled_for > t.created_at then 'scheduled' else 'pending' end as status, '{}'::jsonb as data
  union all
  select due.at, 1, 0, 'queued', 0, 'pending', '{}' from (
    select least(greatest(t.created_at, t.scheduled_for), t.started_at,
      (select min(started_at) from attempts where task_id = t.id)) as at, least(t.completed_at,
      (select min((data ->> 'ended_at')::timestamptz) from task_events where task_id = t.id and type = 'retried')) as first_end
  ) due where due.at <= now() and (due.first_end is null or due.at <= due.first_end)
  union all
  select started_at, 2, attempt, 'started', attempt, 'running', '{}' from attempts
    where task_id = t.id and started_at is not null
  union all
  select t.started_at, 2, t.attempt, 'started', t.attempt, 'running', '{}' where t.status in ('running', 'cancelling')
    and t.awaiting is null
  union all
  select at, case type when 'cancel' then 4 when 'retried' then 8 when 'resumed' then 8 else 3 end, id,
    case type when 'cancel' then 'cancel_requested' else type end, attempt,
    case type when 'cancel' then data ->> 'status' when 'retried' then 'pending' when 'resumed' then 'pending' end,
    data - array['status', 'ended_at'] - case type when 'retried' then array['error', 'reason'] else array[]::text[] end
    from task_events where task_id = t.id
  union all
  select ended_at, 5, attempt, 'attempt_ended', attempt, case when outcome in ('completed', 'failed', 'cancelled') then outcome
      when outcome = 'parked' then 'running'
      when t.completed_at = ended_at then t.status else 'pending' end,
    jsonb_build_object('outcome', outcome, 'error', error) from attempts where task_id = t.id
  union all
  select ended_at, 3, 1000000000000000 + id, 'step', attempt, null, jsonb_build_object('name', name, 'kind', kind,
      'ms', round(extract(epoch from ended_at - started_at) * 1000)) from task_memos where task_id = t.id and kind <> 'call'
  union all
  select a.at, 6, abs(hashtext(d.id::text)::bigint) * 1000 + a.attempt, 'webhook', d.task_attempt, null,
    jsonb_build_object('delivery_id', d.id, 'event', d.event, 'url', d.url, 'http_status', a.status, 'failure', a.error,
      'latency_ms', a.latency_ms)
    from deliveries d join delivery_attempts a on a.delivery_id = d.id where d.task_id = t.id
  union all
  select (data ->> 'ended_at')::timestamptz, 7, attempt, 'ended', attempt, data ->> 'status',
    jsonb_build_object('error', data -> 'error', 'reason', data -> 'reason')
    from task_events where task_id = t.id and type = 'retried'
  union all
  select t.completed_at, 7, t.attempt, 'ended', t.attempt, t.status,
    jsonb_build_object('error', t.error, 'reason', t.cancel_reason) where t.completed_at is not null`;

/**
 * What happened to tasks, derived from the rows that hold it: this is the one place that knows the events of a task. At most
 * `limit` events each, the oldest first. Answers in the order asked; `undefined` for a task that is not there.
 */
export async function lookAtTasks(db: Db, asked: Asked[], limit: number): Promise<Array<Look | undefined>> {
  const { rows } = await sql<
    { place: number; task_status: Status; task_attempt: number; end_id: string | null } & TimelineRow
  >`
    select a.place::int as place, t.status as task_status, t.attempt as task_attempt,
      (extract(epoch from t.completed_at) * 1000000)::bigint || '-7-' || t.attempt as end_id, e.*
    from unnest(${asked.map(({ id }) => id)}::uuid[], ${asked.map(({ after }) => after ?? '0-0-0')}::text[])
      with ordinality as a(id, after, place)
    join tasks t on t.id = a.id
    left join lateral (
      select concat_ws('-', us, rank, n) as id, at, type, status, attempt, data
      from (select *, (extract(epoch from at) * 1000000)::bigint as us from (${sql.raw(EVENTS)}) every) numbered
      where (us, rank, n) > (split_part(a.after, '-', 1)::bigint, split_part(a.after, '-', 2)::int, split_part(a.after, '-', 3)::bigint)
      order by us, rank, n limit ${limit}
    ) e on true
    order by a.place, (string_to_array(e.id, '-'))::bigint[]`.execute(db);
  const looks: Array<Look | undefined> = asked.map(() => undefined);
  for (const { place, task_status, task_attempt, end_id, ...event } of rows) {
    looks[place - 1] ??= { status: task_status, attempt: task_attempt, endId: end_id, events: [] };
    if (event.id) looks[place - 1]?.events.push(event);
  }
  return looks;
}

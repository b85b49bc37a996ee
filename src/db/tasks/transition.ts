import { type RawBuilder, sql } from 'kysely';
import type { Lane } from '../../tasks/lanes.ts';
import { metrics } from '../../telemetry/metrics.ts';
import { hasEnded, type Status } from '../schema.ts';
import { ENDPOINT_DISABLED } from '../webhook-endpoints.ts';

/**
 * The channel on which processes tell each other what happened to a task: `ended <id>`, `cancelling <id> <attempt>`, or
 * `changed <id>` for anything else that happens to a task whose events are read.
 */
export const TASK_CHANNEL = 'sutazai_tasks';

/** Where a task stands after a statement moved it, and what has to be put into lanes because of that. */
export interface Transition {
  id: string;
  user_id: string;
  type: string;
  lane: Lane;
  status: Status;
  priority: number;
  attempt: number;
  generation: number;
  ready_at: Date;
  /** Since when it stands in line, where that is not `ready_at`. */
  queued_at: Date | null;
  request_id: string | null;
  concurrency_key: string | null;
  /** The task that it is a part of. */
  parent_id: string | null;
  /** What holds it back where it waits again: the lane alone may do that. */
  held_by: string | null;
  /** Whether it had been held back and a place was kept for it, which it does not need any more where it has ended. */
  called: boolean;
  /** Ids of the webhook deliveries that the same statement stored, to be sent now. */
  deliveries: string[] | null;
}

interface Telling {
  /** When it happened to the task (`m`). */
  at: RawBuilder<unknown>;
  /** What the message says beside the task (`m`). */
  data?: RawBuilder<unknown>;
  /** A condition on the task and the endpoint, `null` for the webhook of the task itself; those that are disabled are then left out. */
  only?: (endpoint: RawBuilder<unknown>) => RawBuilder<unknown>;
  /** Whether any of the tasks may name a webhook itself; without that the statement is cheaper to plan. */
  own?: boolean;
}

/**
 * A common table expression that stores the deliveries of an event of the tasks in `source` (rows of `tasks`): for the webhook
 * that a task names itself, and for each endpoint of its user. To an endpoint that is disabled nothing is sent, but it can
 * be made up for. Nothing is told of what the event is null for.
 */
function tell(source: string, event: RawBuilder<unknown>, { at, data = sql`null::jsonb`, only, own = true }: Telling) {
  const tasks = sql.ref(source);
  const disabled = sql`case when e.enabled then null else`;
  const ofTask = sql`select m.id, m.attempt, ${event}, m.webhook ->> 'url', decode(m.webhook ->> 'secret', 'base64'), null::uuid,
        ${data}, ${at}, 'pending', null, null::timestamptz
      from ${tasks} m where m.webhook -> 'events' ? ${event} ${only ? sql`and ${only(sql`null::uuid`)}` : sql``}
      union all`;
  return sql`told as (
      insert into deliveries (task_id, task_attempt, event, url, secret, endpoint_id, data, created_at, status, last_error, completed_at)
      ${own ? ofTask : sql``}
      select m.id, m.attempt, ${event}, e.url, null::bytea, e.id, ${data}, ${at}, case when e.enabled then 'pending' else 'failed' end,
        ${disabled} ${ENDPOINT_DISABLED} end, ${disabled} now() end
      from ${tasks} m join webhook_endpoints e on e.user_id = m.user_id and e.deleted_at is null
        and e.events @> array[${event}] ${only ? sql`and e.enabled and ${only(sql`e.id`)}` : sql``}
      returning id, task_id, status
    )`;
}

/** Counts the tasks that a statement ended. */
export function countEnded(moved: Transition[]): void {
  for (const { lane, type, status } of moved) if (hasEnded(status)) metrics.tasksEnded.inc({ lane, type, status });
}

/** Whether a webhook, its own or one of its user, hears of an event of a task. @param task the name of its rows */
export function isHeard(task: string, event: string) {
  const row = sql.ref(task);
  return sql`((${row}.webhook -> 'events' ? ${event}) is true or exists (
      select from webhook_endpoints e where e.user_id = ${row}.user_id and e.deleted_at is null and e.events @> array[${event}]))`;
}

/** The deliveries of the tasks in `source` that have ended, as a common table expression. */
export function insertDeliveries(source: string, more: Pick<Telling, 'own'> = {}) {
  return tell(source, sql`(case when m.completed_at is not null then 'task.' || m.status end)`, {
    at: sql`m.completed_at`,
    ...more,
  });
}

/** The deliveries of the starts in `source`, as a common table expression. */
export function tellOfStart(source: string) {
  return tell(source, sql`'task.started'`, { at: sql`m.started_at` });
}

const PROGRESS_EVERY_MS = 500;

/**
 * The deliveries of the progress in `source`, of which `first` says where it is the first that is told of its attempt: that
 * of the attempt before may have been told just now.
 */
export function tellOfProgress(source: string) {
  return tell(source, sql`'task.progress'`, {
    at: sql`clock_timestamp()`,
    data: sql`jsonb_build_object('progress', m.progress)`,
    only: (endpoint) => sql`(not m.first or not exists (
        select from deliveries d where d.task_id = m.id and d.event = 'task.progress'
          and d.endpoint_id is not distinct from ${endpoint}
          and d.created_at > now() - ${PROGRESS_EVERY_MS}::int * interval '1 millisecond'))`,
  });
}

/** Common table expressions that add what the attempts in `source` took (`user_id`, `usage`) to the days of their users. */
export function spendTokens(source: string) {
  // Days are locked in the order of their users, so that two such statements never wait for each other.
  return sql`took as (
      select user_id, sum(coalesce((usage ->> 'input_tokens')::float8, 0) + coalesce((usage ->> 'output_tokens')::float8, 0)) as tokens
      from ${sql.ref(source)} where usage is not null group by user_id
    ), spent as (
      insert into token_usage as u (user_id, day, tokens)
      select user_id, (now() at time zone 'utc')::date, tokens from took where tokens > 0 order by user_id
      on conflict (user_id, day) do update set tokens = u.tokens + excluded.tokens
    ),`;
}

/** Of a task about which a statement told, the deliveries that wait to be sent. @param task the name of its rows */
export const deliveriesToSend = (task: string) =>
  sql`(select array_agg(told.id) from told where told.task_id = ${sql.ref(task)}.id and told.status = 'pending') as deliveries`;

/** A common table expression that notes for the timelines of the tasks in `source` that their end was asked for, by whom and why. */
export function recordCancel(source: string, by: string | null) {
  return sql`recorded as (
      insert into task_events (task_id, attempt, type, data, at)
      select id, attempt, 'cancel', jsonb_build_object('by', ${by}::text, 'reason', cancel_reason, 'status', status),
        coalesce(completed_at, clock_timestamp()) from ${sql.ref(source)}
    )`;
}

/** A common table expression that notes for the timelines of tasks, of which `source` has rows, that they wait outside no more. */
export function recordResumed(source: RawBuilder<unknown>, reason: 'signal' | 'late', at = sql`clock_timestamp()`) {
  return sql`resumed as (
      insert into task_events (task_id, attempt, type, data, at)
      select id, attempt, 'resumed', jsonb_build_object('reason', ${reason}::text), ${at} from ${source}
    ),`;
}

/** A column that tells whoever reads the events of a task (a row `t` of `tasks`) that it changed. */
export function sayChanged(t: string) {
  return sql`case when ${sql.ref(t)}.streamed then pg_notify(${TASK_CHANNEL}, 'changed ' || ${sql.ref(t)}.id) end`;
}

/**
 * The select that ends such a statement: answers {@link Transition}s and wakes whoever waits.
 * @param told whether the statement stored deliveries
 */
export function announce(source: string, told = true) {
  return sql`select m.id, m.user_id, m.type, m.lane, m.status, m.priority, m.attempt, m.generation, m.ready_at, m.queued_at,
      m.request_id, m.concurrency_key, m.parent_id, m.held_by, m.called,
      ${told ? deliveriesToSend('m') : sql`null as deliveries`},
      case
        when m.completed_at is not null and m.watched then pg_notify(${TASK_CHANNEL}, 'ended ' || m.id)
        when m.status = 'cancelling' then pg_notify(${TASK_CHANNEL}, 'cancelling ' || m.id || ' ' || m.attempt)
        when m.streamed then pg_notify(${TASK_CHANNEL}, 'changed ' || m.id)
      end
    from ${sql.ref(source)} m`;
}

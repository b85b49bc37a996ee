import { sql } from 'kysely';
import type { Lane } from '../../tasks/lanes.ts';
import type { Status } from '../schema.ts';

/** The channel on which processes tell each other what happened to a task: `ended <id>` or `cancelling <id>`. */
export const TASK_CHANNEL = 'sutazai_tasks';

/** Where a task stands after a statement moved it, and what has to be put into lanes because of that. */
export interface Transition {
  id: string;
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
  /** Ids of the webhook deliveries that the same statement stored. */
  deliveries: string[] | null;
}

/** A common table expression that stores the deliveries of the tasks in `source` (rows of `tasks`) that have ended. */
export function insertDeliveries(source: string) {
  return sql`told as (
      insert into deliveries (task_id, task_attempt, event, url, secret)
      select id, attempt, 'task.' || status, webhook ->> 'url', decode(webhook ->> 'secret', 'base64')
      from ${sql.ref(source)}
      where webhook is not null and completed_at is not null and webhook -> 'events' ? ('task.' || status)
      returning id, task_id
    )`;
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

/** The select that ends such a statement: answers {@link Transition}s and wakes whoever waits. */
export function announce(source: string) {
  return sql`select m.id, m.type, m.lane, m.status, m.priority, m.attempt, m.generation, m.ready_at, m.queued_at,
      m.request_id,
      (select array_agg(told.id) from told where told.task_id = m.id) as deliveries,
      case
        when m.completed_at is not null and m.watched then pg_notify(${TASK_CHANNEL}, 'ended ' || m.id)
        when m.status = 'cancelling' then pg_notify(${TASK_CHANNEL}, 'cancelling ' || m.id)
      end
    from ${sql.ref(source)} m`;
}

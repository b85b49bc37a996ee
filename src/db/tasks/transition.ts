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

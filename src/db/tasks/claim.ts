import { type RawBuilder, sql } from 'kysely';
import type { Db } from '../connect.ts';
import { type Place, prepared } from '../prepared.ts';
import type { TaskRow } from './read.ts';
import { isHeard, sayChanged } from './transition.ts';

/** Whether a worker holds a task (`t`): a parked one runs, but nobody has it. */
export const isHeld = sql`(t.status in ('running', 'cancelling') and t.awaiting is null)`;

/**
 * A condition beside a key, for which no index is looked for: rows are found by the key. Postgres learns a minute late how many rows
 * a table has, and may take it meanwhile that as few have a status as have an id.
 */
export const besideKey = (holds: RawBuilder<unknown>) => sql`((${holds}) is true)`;

/** What a worker needs to run a task. `attempt` is also the fence: only its holder may settle. */
export type ClaimedTask = Pick<
  TaskRow,
  | 'id'
  | 'user_id'
  | 'type'
  | 'lane'
  | 'priority'
  | 'input'
  | 'attempt'
  | 'max_attempts'
  | 'failures'
  | 'timeout_ms'
  | 'request_id'
  | 'traceparent'
  | 'expires_at'
  | 'generation'
  | 'streamed'
  | 'signals'
  | 'life'
  | 'parkings'
  | 'parent_id'
> & {
  /** Whether it names a webhook itself. */
  own_webhook: boolean;
  /** How long it might have been run already when it was. */
  waited_seconds: number;
};

export interface Claim {
  id: string;
  generation: number;
}

/** Whether a task (`t`) may be started by a job (`c`). */
export const claimable = sql`(t.id = c.id and t.generation = c.generation and ${besideKey(sql`t.status in ('pending', 'scheduled')`)}
  and (t.expires_at is null or t.expires_at > now()) and t.ready_at <= now() + interval '1 second')`;

/**
 * What starting changes of a task (`t`). Its time is read once the row is locked, as that of every change is: the times of
 * a task follow the order of its changes.
 */
export function startAttempt(worker: string | Place, leaseMs: number | Place) {
  return sql`status = 'running', attempt = t.attempt + 1,
    worker = ${worker}, started_at = clock_timestamp(), progress = null, held_by = null, called = false,
    lease_until = now() + ${leaseMs}::int * interval '1 millisecond'`;
}

/** Since when a task (`t`) might have been run: whoever called it from the backlog of its lane has set the time when it is ready anew. */
const sinceWhen = sql`case when t.generation = 0 and t.attempt = 1
  then greatest(t.created_at, coalesce(t.scheduled_for, t.created_at)) else t.ready_at end`;

export const claimedColumns = sql`t.id, t.user_id, t.type, t.lane, t.priority, t.input, t.attempt, t.max_attempts,
  t.failures, t.timeout_ms, t.request_id, t.traceparent, t.expires_at, t.generation, t.streamed, t.signals, t.life, t.parkings,
  t.parent_id, t.webhook is not null as own_webhook,
  extract(epoch from t.started_at - ${sinceWhen})::float8 as waited_seconds, ${sayChanged('t')}`;

/** How many tasks of a user may run at a time; 0 is no limit. @param user a column that holds the id of a user */
export function runningLimit(user: string, everybody: number | Place) {
  return sql<number>`coalesce((select l.running_tasks from user_limits l where l.user_id = ${sql.ref(user)}), ${everybody}::int)`;
}

type Claiming = [ids: string[], generations: number[], worker: string, leaseMs: number, everybody: number];

const startTasks = prepared<Claiming, ClaimedTask>(
  'start_tasks',
  // Locked in the order of ids, as all that changes many tasks locks them, so that no two wait for each other.
  (ids, generations, worker, leaseMs, everybody) => sql`
    with free as (
      select t.id from tasks t
      join unnest(${ids}::uuid[], ${generations}::int[]) as c(id, generation)
        on ${claimable} and t.concurrency_key is null and ${runningLimit('t.user_id', everybody)} = 0
          and not ${isHeard('t', 'task.started')}
      order by t.id for update of t
    )
    update tasks t set ${startAttempt(worker, leaseMs)}
    from free where t.id = free.id
    returning ${claimedColumns}`,
);

/**
 * Takes tasks for a worker: waiting → running, attempt + 1, a lease. A task that is not in the generation of its job,
 * is not due by the clock of the database, is taken, ended or past its deadline, answers `undefined`: its job is to be dropped.
 * So does a task with a concurrency key, whose user has a limit of running tasks, or whose start webhooks hear of;
 * `claimLimited` takes those.
 * @param everybody the limit of running tasks of those who have none of their own; 0 is none
 */
export async function claimTasks(
  db: Db,
  worker: string,
  leaseMs: number,
  claims: Claim[],
  everybody = 0,
): Promise<Array<ClaimedTask | undefined>> {
  const ids = claims.map(({ id }) => id);
  const generations = claims.map(({ generation }) => generation);
  const rows = await startTasks(db, ids, generations, worker, leaseMs, everybody);
  const claimed = new Map(rows.map((row) => [row.id, row]));
  return claims.map(({ id, generation }) => {
    const row = claimed.get(id);
    if (row?.generation !== generation) return undefined;
    // A second job of the same task in this batch must not get the same attempt.
    claimed.delete(id);
    return row;
  });
}

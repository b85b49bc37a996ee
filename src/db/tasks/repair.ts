import { sql } from 'kysely';
import { metrics } from '../../telemetry/metrics.ts';
import type { Db } from '../connect.ts';
import { noteEnds } from '../workflows/ends.ts';
import type { Claim } from './run.ts';
import { stopTasks } from './stop.ts';
import { announce, countEnded, insertDeliveries, sayChanged, type Transition } from './transition.ts';

/** How many attempts may end with a lost worker before a task counts as a killer of workers. */
export const KILL_BUDGET = 3;

/**
 * Takes tasks away from workers whose lease ran out: running → pending in a new generation, or failed as `poison` when
 * the kill budget is spent; cancelling → cancelled. The ledger says `lost`. At most `limit` a call.
 *
 * After the first loss a task keeps its place in line: it has waited already, and most of what a worker takes with it is
 * innocent. After the second it may be what kills them, and goes behind the others of its class.
 */
export async function rescueTasks(db: Db, limit: number): Promise<Transition[]> {
  const { rows } = await sql<Transition>`
    with lost as (
      select id, status = 'cancelling' as cancelling, losses + 1 >= ${KILL_BUDGET} as poison
      from tasks where status in ('running', 'cancelling') and lease_until < now()
      order by lease_until limit ${limit} for update skip locked
    ), moved as (
      update tasks t set
        status = case when l.cancelling then 'cancelled' when l.poison then 'failed' else 'pending' end,
        losses = t.losses + 1, generation = t.generation + 1, lease_until = null, progress = null, ready_at = now(),
        queued_at = case when t.losses = 0 then coalesce(t.queued_at, t.ready_at) end,
        completed_at = case when l.cancelling or l.poison then clock_timestamp() end,
        error = case when l.poison and not l.cancelling then jsonb_build_object('code', 'poison', 'retryable', false,
          'message', 'The worker was lost during ' || (t.losses + 1) || ' attempts of this task, so it is not tried again.') end
      from lost l where t.id = l.id
      returning t.*
    ), ledger as (
      insert into attempts (task_id, attempt, outcome, worker, error, started_at, ended_at)
      select id, attempt, 'lost', worker, jsonb_build_object('code', 'worker_lost', 'retryable', true,
        'message', 'The worker stopped answering.'), started_at, coalesce(completed_at, clock_timestamp()) from moved
    ), ${noteEnds('moved')}, ${insertDeliveries('moved')}
    ${announce('moved')}`.execute(db);
  countEnded(rows);
  for (const { lane, type } of rows) metrics.attempts.inc({ lane, type, outcome: 'lost' });
  return rows;
}

/**
 * Ends what its deadline overtook, and its parts with it: never started → expired, waiting for another attempt or parked → cancelled, running → cancelling with the
 * reason `deadline`. At most `limit` a call, parts not counted.
 */
export async function expireTasks(db: Db, limit: number): Promise<Transition[]> {
  const late = sql`select id from tasks where expires_at <= now() and status in ('scheduled', 'pending', 'running')
    order by expires_at limit ${limit}`;
  return stopTasks(db, late, { reason: 'deadline', by: null, expires: true });
}

/** Turns scheduled tasks whose time has come into pending ones. */
export async function promoteTasks(db: Db, limit: number): Promise<number> {
  const { rows } = await sql`
    update tasks t set status = 'pending' where id in (
      select id from tasks where status = 'scheduled' and ready_at <= now() order by ready_at limit ${limit} for update skip locked
    ) returning id, ${sayChanged('t')}`.execute(db);
  return rows.length;
}

/**
 * Puts waiting rows that stand in these generations into the next one, because a job that is spent keeps its id. Answers
 * the new generations by id.
 */
export async function raiseGenerations(
  db: Db,
  kind: 'task' | 'delivery',
  given: Claim[],
): Promise<Map<string, number>> {
  if (given.length === 0) return new Map();
  const table = sql.table(kind === 'task' ? 'tasks' : 'deliveries');
  // Locked in the order of ids, as claims lock them: in any other order the two may wait for each other.
  const { rows } = await sql<Claim>`
    with spent as (
      select t.id from ${table} t
      join unnest(${given.map(({ id }) => id)}::uuid[], ${given.map(({ generation }) => generation)}::int[]) as g(id, generation)
        on t.id = g.id and t.generation = g.generation and t.status in ('scheduled', 'pending')
      order by t.id for update of t
    )
    update ${table} t set generation = t.generation + 1
    from spent where t.id = spent.id
    returning t.id, t.generation`.execute(db);
  return new Map(rows.map(({ id, generation }) => [id, generation]));
}

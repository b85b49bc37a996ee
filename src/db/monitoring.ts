import { sql } from 'kysely';
import type { Lane } from '../tasks/lanes.ts';
import type { Db } from './connect.ts';
import { firstIdAt } from './ids.ts';
import type { Status } from './schema.ts';

/** How many tasks, or deliveries, of a lane have a status. */
export interface LaneCount {
  lane: Lane;
  status: Status;
  count: number;
  /** How many of them are held back until a place of their user or their key is free. */
  held: number;
  /** How long the one of them that waits longest has been due, in seconds; `null` where none waits. */
  oldest_seconds: number | null;
}

/**
 * Counts the rows of each lane by status: all that have not ended, and of those that have the ones accepted since `since`,
 * because counting every task that ever ended would take longer each day. Deliveries count as the lane `webhook`.
 */
export async function countLanes(db: Db, since: Date): Promise<LaneCount[]> {
  const first = firstIdAt(since);
  const { rows } = await sql<LaneCount>`
    with rows as (
      select lane, status, ready_at, held_by is not null and held_by <> 'lane' as held from tasks where status in ('scheduled', 'pending', 'running', 'cancelling')
      union all
      select lane, status, null, false from tasks where status in ('completed', 'failed', 'cancelled', 'expired') and id > ${first}
      union all
      select 'webhook', case when status = 'pending' and ready_at > now() then 'scheduled' else status end, ready_at, false
      from deliveries where status in ('pending', 'running')
      union all
      select 'webhook', case status when 'delivered' then 'completed' else 'failed' end, null, false
      from deliveries where status in ('delivered', 'failed') and task_id > ${first}
    )
    select lane, status, count(*)::int as count, (count(*) filter (where held))::int as held,
      extract(epoch from now() - min(ready_at) filter (where status = 'pending'))::float8 as oldest_seconds
    from rows group by lane, status`.execute(db);
  return rows;
}

/** How many tasks of each lane run without a worker, because they wait for something outside. */
export async function countParked(db: Db): Promise<Map<Lane, number>> {
  const { rows } = await sql<{ lane: Lane; count: number }>`
    select lane, count(*)::int as count from tasks where awaiting is not null group by lane`.execute(db);
  return new Map(rows.map(({ lane, count }) => [lane, count]));
}

/** A task that a worker has at this moment. */
export interface Running {
  worker: string;
  id: string;
  type: string;
  lane: Lane;
  attempt: number;
  user_id: string;
  status: Status;
  started_at: Date;
  lease_until: Date;
}

/** How many tasks a worker has at this moment, and those of them that run longest. */
export interface AtWork {
  worker: string;
  total: number;
  running: Array<Omit<Running, 'worker'>>;
}

/** What is at work, by worker. Of all together at most `limit` tasks are named, as many of each worker as of another one that has as many. */
export async function listAtWork(db: Db, limit: number): Promise<AtWork[]> {
  // One statement, so that what is counted is what is named.
  const { rows } = await sql<Running & { total: number }>`
    with held as (
      select worker, id, type, lane, attempt, user_id, status, started_at, lease_until,
        row_number() over (partition by worker order by started_at, id) as place
      from tasks where status in ('running', 'cancelling') and awaiting is null
    ), named as (
      select * from held order by place, worker limit ${limit}
    )
    select w.worker, w.total, n.id, n.type, n.lane, n.attempt, n.user_id, n.status, n.started_at, n.lease_until
    from (select worker, count(*)::int as total from held group by worker) w left join named n using (worker)
    order by w.worker, n.place`.execute(db);
  return [...Map.groupBy(rows, ({ worker }) => worker)].map(([worker, held]) => ({
    worker,
    total: held[0]?.total ?? 0,
    // One that stands so far behind that none of its tasks is named has one row without a task.
    running: held.filter(({ id }) => id !== null).map(({ worker: _, total: __, ...task }) => task),
  }));
}

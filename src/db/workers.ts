import { type Selectable, sql } from 'kysely';
import type { Lane } from '../tasks/lanes.ts';
import type { Db } from './connect.ts';
import { insertCosts, type UserCost } from './costs.ts';
import type { LaneMinuteTable, WorkerTable } from './schema-workers.ts';

export type { Down, LaneWork, Loading } from './schema-workers.ts';

export type WorkerRow = Selectable<WorkerTable>;
/** What a lane did since it was last told. */
export type LaneDone = Omit<LaneMinuteTable, 'minute'>;

/** A process that was not heard of for so long counts as gone. */
export const WORKER_GONE_SECONDS = 20;

/** Writes that a process works, and adds to the present minute what its lanes did, and to their users what it cost. */
export async function beatWorker(
  db: Db,
  worker: Omit<WorkerRow, 'seen_at'>,
  done: LaneDone[],
  costs: UserCost[] = [],
): Promise<void> {
  const { name, version, started_at } = worker;
  const [lanes, down, loading] = [worker.lanes, worker.down, worker.loading].map((one) => JSON.stringify(one));
  await sql`
    with seen as (
      insert into workers as w (name, version, lanes, down, loading, started_at)
      values (${name}, ${version}, ${lanes}::jsonb, ${down}::jsonb, ${loading}::jsonb, ${started_at})
      on conflict (name) do update set version = excluded.version, lanes = excluded.lanes, down = excluded.down,
        loading = excluded.loading, started_at = excluded.started_at, seen_at = now()
    )${costs.length > 0 ? sql`, costs as (${insertCosts(costs)})` : sql``}
    insert into lane_minutes as m (lane, minute, started, completed, failed, runs, run_ms, run_ms_squared)
    select lane, floor(extract(epoch from now()) / 60), started, completed, failed, runs, run_ms, run_ms_squared
    from json_to_recordset(${JSON.stringify(done)}::json) as d(lane text, started int, completed int, failed int, runs int,
      run_ms float8, run_ms_squared float8) order by lane
    on conflict (lane, minute) do update set started = m.started + excluded.started,
      completed = m.completed + excluded.completed, failed = m.failed + excluded.failed, runs = m.runs + excluded.runs,
      run_ms = m.run_ms + excluded.run_ms, run_ms_squared = m.run_ms_squared + excluded.run_ms_squared`.execute(db);
}

/** A process works no more. */
export async function deleteWorker(db: Db, name: string): Promise<void> {
  await db.deleteFrom('workers').where('name', '=', name).execute();
}

/** The processes that work, by name. */
export async function listWorkers(db: Db): Promise<WorkerRow[]> {
  return db
    .selectFrom('workers')
    .selectAll()
    .where(sql<boolean>`seen_at > now() - ${WORKER_GONE_SECONDS}::int * interval '1 second'`)
    .orderBy('name')
    .execute();
}

/** How much a lane did within some minutes, and how long its attempts ran. */
export interface LaneRate {
  lane: Lane;
  started: number;
  completed: number;
  failed: number;
  runs: number;
  /** Of one run, in milliseconds; `null` where none ended. */
  mean_ms: number | null;
  deviation_ms: number | null;
}

/** What the lanes did in the last full minutes and the present one; a lane that did nothing has no row. */
export const ratesWithin = (minutes: number) => sql<LaneRate>`
  select lane, sum(started)::int as started, sum(completed)::int as completed, sum(failed)::int as failed,
    sum(runs)::int as runs, sum(run_ms) / nullif(sum(runs), 0) as mean_ms,
    sqrt(greatest(0, sum(run_ms_squared) / nullif(sum(runs), 0) - (sum(run_ms) / nullif(sum(runs), 0)) ^ 2)) as deviation_ms
  from lane_minutes where minute >= floor(extract(epoch from now()) / 60) - ${minutes}::int group by lane`;

export async function listRates(db: Db, minutes: number): Promise<LaneRate[]> {
  return (await ratesWithin(minutes).execute(db)).rows;
}

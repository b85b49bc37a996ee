import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { Down, LaneWork, Loading } from '../schema-workers.ts';
import { type LaneRate, ratesWithin, WORKER_GONE_SECONDS } from '../workers.ts';
import { isHeld, runningLimit } from './claim.ts';
import type { TaskRow } from './read.ts';

/** A process that works in the lane of a task. */
export interface LaneWorker {
  work: LaneWork;
  down: Down[];
  loading: Loading[];
}

/** What a waiting task waits for, as far as the database knows. */
export interface Surroundings {
  paused: boolean;
  workers: LaneWorker[];
  /** Whether something runs in the lane, so that somebody works there who does not say so. */
  busy: boolean;
  /** How many tasks of its user may run, 0 for any number, and how many do where that is limited. */
  user_limit: number;
  user_running: number;
  recent: LaneRate | null;
  long: LaneRate | null;
}

/** Over how many minutes the pace of a lane is measured: lately, and for longer. */
const RECENT_MINUTES = 5;
const LONG_MINUTES = 60;

/** Reads what is around a waiting task. @param everybody the limit of running tasks of those who have none of their own */
export async function findSurroundings(
  db: Db,
  { lane, user_id }: Pick<TaskRow, 'lane' | 'user_id'>,
  everybody: number,
): Promise<Surroundings> {
  const rate = (minutes: number) =>
    sql`(select to_jsonb(r) from (${ratesWithin(minutes)}) as r where r.lane = ${lane})`;
  const { rows } = await sql<Surroundings>`
    with live as (
      select lanes -> ${lane}::text as work, down, loading from workers
      where seen_at > now() - ${WORKER_GONE_SECONDS}::int * interval '1 second' and lanes ? ${lane}::text
    ), allowed as (select ${runningLimit('u.id', everybody)} as most from (select ${user_id}::uuid as id) as u)
    select exists (select from paused_lanes where lane = ${lane}) as paused,
      coalesce((select jsonb_agg(to_jsonb(live)) from live), '[]') as workers,
      not exists (select from live) and exists (
        select from tasks where status in ('running', 'cancelling') and lease_until > now() and lane = ${lane}) as busy,
      (select most from allowed) as user_limit,
      case when (select most from allowed) = 0 then 0 else (
        select count(*) from tasks t where user_id = ${user_id} and ${isHeld}) end::int as user_running,
      ${rate(RECENT_MINUTES)} as recent, ${rate(LONG_MINUTES)} as long`.execute(db);
  return rows[0] as Surroundings;
}

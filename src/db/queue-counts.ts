import { sql } from 'kysely';
import type { Lane } from '../tasks/lanes.ts';
import type { Db } from './connect.ts';
import type { Status } from './schema.ts';

/** How much of a lane has a status. */
export interface QueueCount {
  lane: Lane;
  status: Status;
  count: number;
  /** Since when the oldest of it has been due, or at work; `null` where that means nothing. */
  oldest: string | null;
}

/** The counts that all processes share. */
export interface QueueCounts {
  counts: QueueCount[];
  counted_at: Date | null;
  /** What time it is, by the same clock. */
  now: Date;
}

/** Counting never takes more than a twentieth of the time, nor is it done more often than this. */
const EVERY_MS = 5_000;
const TIMES = 20;
/** After so long, whoever set out to count is not expected back. */
const PATIENCE_MS = 15_000;

/**
 * What waits and runs, by lane and status; of the lane `webhook` these are deliveries. It is counted by whoever asks first
 * once the last counts are old, however many processes ask.
 */
export async function readQueueCounts(db: Db): Promise<QueueCounts> {
  const { rows } =
    await sql`update queue_counts set next_at = clock_timestamp() + ${PATIENCE_MS}::int * interval '1 millisecond'
    where next_at <= clock_timestamp() returning one`.execute(db);
  if (rows.length > 0) await count(db);
  const read = await sql<QueueCounts>`select counts, counted_at, clock_timestamp() as now from queue_counts`.execute(
    db,
  );
  return read.rows[0] ?? { counts: [], counted_at: null, now: new Date() };
}

async function count(db: Db): Promise<void> {
  await sql`
    with rows as (
      select lane, status, case status when 'pending' then ready_at when 'running' then started_at end as since
      from tasks where status in ('scheduled', 'pending', 'running', 'cancelling')
      union all
      select 'webhook', case when status = 'pending' and ready_at > now() then 'scheduled' else status end,
        case when status = 'pending' and ready_at <= now() then ready_at end
      from deliveries where status in ('pending', 'running')
    ), counted as (
      select lane, status, count(*)::int as count, min(since) as oldest from rows group by lane, status
    )
    update queue_counts set counts = coalesce((select jsonb_agg(to_jsonb(counted)) from counted), '[]'),
      counted_at = now(), next_at = clock_timestamp()
        + greatest(${EVERY_MS}::float8 * interval '1 millisecond', (clock_timestamp() - now()) * ${TIMES}::int)`.execute(
    db,
  );
}

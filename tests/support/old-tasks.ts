import { sql } from 'kysely';
import type { Db } from '../../src/db/connect.ts';
import type { Status } from '../../src/db/schema.ts';

/** Ended tasks, as they look so long after. */
export interface OldTasks {
  userId: string;
  count?: number;
  status?: Status;
  /** Days since they were accepted; ids tell it too. */
  made: number;
  /** Days since they ended. */
  ended: number;
  /** What each has had. */
  attempts?: number;
  /** Words of it are found by the search, which costs much more than the rest. */
  title?: string | null;
  delivery?: 'pending' | 'running' | 'delivered' | 'failed';
}

/** Stores them with attempts and a delivery of the kind; answers their ids. */
export async function storeOldTasks(db: Db, old: OldTasks): Promise<string[]> {
  const ids: string[] = [];
  for (let left = old.count ?? 1; left > 0; left -= AT_ONCE)
    ids.push(...(await storeSome(db, { ...old, count: Math.min(left, AT_ONCE) })));
  return ids.sort();
}

/** More in one statement might pass its time-out. */
const AT_ONCE = 20_000;

async function storeSome(db: Db, old: OldTasks): Promise<string[]> {
  const { userId, count = 1, status = 'completed', made, ended, attempts = 1, title = 'old', delivery } = old;
  const { rows } = await sql<{ id: string }>`
    with made as (
      insert into tasks (id, user_id, type, lane, status, input, output, title, max_attempts, timeout_ms, attempt,
        created_at, ready_at, started_at, completed_at)
      select (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text), 1, 3)
          || '8' || substr(md5(random()::text), 1, 15))::uuid,
        ${userId}, 'echo', 'system', ${status}, '{"message":"old"}', '{"message":"old"}', ${title}, 3, 30000, ${attempts},
        at, at, at, now() - ${ended}::float8 * interval '1 day'
      from generate_series(1, ${count}::int) as n, lateral (select now() - ${made}::float8 * interval '1 day' - n * interval '1 millisecond' as at) as t
      returning id
    ), ran as (
      insert into attempts (task_id, attempt, outcome) select id, n, 'completed' from made, generate_series(1, ${attempts}::int) as n
    ), told as (
      insert into deliveries (task_id, task_attempt, event, url, secret, status, attempt)
      select id, 1, 'task.completed', 'http://127.0.0.1:1/', '\\x00', ${delivery ?? ''}, 1 from made where ${delivery ?? ''} <> ''
      returning id
    ), tried as (
      insert into delivery_attempts (delivery_id, attempt, status, latency_ms) select id, 1, 500, 1 from told
    )
    select id from made order by id`.execute(db);
  return rows.map(({ id }) => id);
}

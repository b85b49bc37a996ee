import { sql } from 'kysely';
import type { Db } from '../../src/db/connect.ts';
import { until } from './until.ts';

/** The connections that hear notifications, once they do. */
async function listenersOf(db: Db): Promise<number[]> {
  const { rows } = await sql<{ pid: number }>`select pid from pg_stat_activity
    where application_name = 'sutazai:notify' and datname = current_database() and state = 'idle'
      and query ~* '^(listen|select 1)'`.execute(db);
  return rows.map(({ pid }) => pid);
}

/** Ends the connections that hear notifications, and waits until others have taken their place. */
export async function breakListeners(db: Db): Promise<void> {
  const before = await listenersOf(db);
  await sql`select pg_terminate_backend(pid) from unnest(${before}::int[]) pid`.execute(db);
  await until('all listen again', async () => {
    const now = await listenersOf(db);
    return now.length === before.length && !now.some((pid) => before.includes(pid));
  });
}

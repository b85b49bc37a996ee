import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** What Postgres tells of itself and of this database, since its statistics were reset. */
export interface Statistics {
  commits: number;
  rollbacks: number;
  deadlocks: number;
  checksum_failures: number;
  blocks_in_memory: number;
  blocks_from_disk: number;
  bytes: number;
  connections_max: number;
  longest_transaction_seconds: number;
  connections: Record<ConnectionState, number>;
}

export const CONNECTION_STATES = ['active', 'idle', 'in_transaction', 'other'] as const;
export type ConnectionState = (typeof CONNECTION_STATES)[number];

/** The state of a connection is told to its own user, and to those who may read all statistics. */
export async function readStatistics(db: Db): Promise<Statistics> {
  const { rows } = await sql<Statistics>`
    with clients as (
      select case when state in ('active', 'idle') then state when state like 'idle in transaction%' then 'in_transaction'
        else 'other' end as state, xact_start
      from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
    )
    select xact_commit::float8 as commits, xact_rollback::float8 as rollbacks, deadlocks::float8 as deadlocks,
      coalesce(checksum_failures, 0)::float8 as checksum_failures, blks_hit::float8 as blocks_in_memory,
      blks_read::float8 as blocks_from_disk, pg_database_size(datname)::float8 as bytes,
      current_setting('max_connections')::int as connections_max,
      (select coalesce(extract(epoch from now() - min(xact_start)), 0)::float8 from clients) as longest_transaction_seconds,
      (select coalesce(json_object_agg(state, count), '{}') from (select state, count(*)::int from clients group by state) by_state)
        as connections
    from pg_stat_database where datname = current_database()`.execute(db);
  const row = rows[0] as Statistics;
  const connections = Object.fromEntries(CONNECTION_STATES.map((state) => [state, row.connections[state] ?? 0]));
  return { ...row, connections: connections as Statistics['connections'] };
}

import pg from 'pg';
import { errorMessage, UsageError } from '../errors.ts';

/** The schema in which BullMQ keeps jobs in Postgres; they are made again from the rows, so no backup has them. */
export const JOBS_SCHEMA = 'bullmq';

/** One connection for as long as it takes, without the time limits of the others. @throws UsageError when it cannot be opened */
export async function openSession(url: string, source: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'sutazai:backup',
    connectionTimeoutMillis: 5_000,
    options: '-c statement_timeout=0 -c idle_in_transaction_session_timeout=0',
  });
  client.on('error', () => {});
  try {
    await client.connect();
    return client;
  } catch (error) {
    throw new UsageError(
      `Postgres cannot be used (${errorMessage(error)}): look at ${source}. Is the server up, and are host, port, user, password and database right?`,
      { cause: error },
    );
  }
}

/** Such as 18.4. */
export async function serverVersion(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ version: string }>("select current_setting('server_version') as version");
  return (rows[0]?.version ?? '').split(' ')[0] as string;
}

/** The tables of ours, by name. */
export async function listTables(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
       and not exists (select from pg_depend where objid = pg_class.oid and deptype = 'e') order by 1`,
  );
  return rows.map(({ name }) => name);
}

/** How many rows each table has. */
export async function countRows(client: pg.Client, tables: string[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const table of tables) {
    const { rows } = await client.query<{ n: string }>(
      `select count(*) as n from public.${pg.escapeIdentifier(table)}`,
    );
    counts[table] = Number(rows[0]?.n);
  }
  return counts;
}

/** The migrations that were applied, the oldest first. */
export async function appliedMigrations(client: pg.Client, tables: string[]): Promise<string[]> {
  if (!tables.includes('kysely_migration')) return [];
  const { rows } = await client.query<{ name: string }>('select name from public.kysely_migration order by name');
  return rows.map(({ name }) => name);
}

import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { UsageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Database } from './schema.ts';

export type Db = Kysely<Database>;

/** How long a statement of ours may take before Postgres ends it, so that no caller waits for ever. */
const STATEMENT_TIMEOUT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 5_000;

/** Opens a pool whose broken connections are logged instead of ending the process. Nothing connects before first use. */
export function createPool(options: {
  url: string;
  max: number;
  name: string;
  log: Logger;
  options?: string;
}): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.max,
    application_name: options.name,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + 5_000,
    idle_in_transaction_session_timeout: 60_000,
    keepAlive: true,
    options: options.options,
  });
  pool.on('error', (error) => {
    // While it ends, a server that ends too may be the quicker one.
    if (!pool.ending) options.log.warn({ err: error }, 'a database connection broke; the next statement opens another');
  });
  // A checked-out client that breaks emits on itself, and an unheard error event would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

/** Kysely over a pool. */
export function createDb(pool: pg.Pool): Db {
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
}

/**
 * Asks the database for its version.
 * @throws UsageError that names the variable to look at when nothing answers or the login is refused
 */
export async function checkDatabase(pool: pg.Pool, source: string): Promise<string> {
  try {
    const { rows } = await pool.query<{ version: string }>("select current_setting('server_version') as version");
    return rows[0]?.version ?? 'unknown';
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UsageError(
      `Postgres cannot be used (${code ?? message}): look at ${source}. Is the server up, and are host, port, user, password and database right?`,
      { cause: error },
    );
  }
}

import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely';
import pg from 'pg';
import { UsageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { currentUrl, type DatabaseAddress, openPatiently } from './address.ts';
import { nameOf } from './prepared.ts';
import type { Database } from './schema.ts';
import { createSockets, LIVELINESS } from './sockets.ts';
import { inStatement } from './statement.ts';

export type Db = Kysely<Database>;

/** How long a statement of ours may take before Postgres ends it, where a pool says nothing else. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** How much longer its answer may be on the way; beyond that the connection counts as dead. */
const ANSWER_TIMEOUT_MS = 1_000;
/** How long a caller waits for a free connection, and a connection for its server. */
const CONNECT_TIMEOUT_MS = 3_000;

interface PoolOptions {
  url: DatabaseAddress;
  max: number;
  name: string;
  log: Logger;
  /** How long a statement may take. */
  statementMs?: number;
  /** Further settings of the sessions, as command line options of Postgres. */
  options?: string;
}

/**
 * Opens a pool whose broken connections are logged instead of ending the process, whose statements end in bounded time
 * also where the server says nothing any more, and whose end does not wait for such a server. Nothing connects before first use.
 */
export function createPool({ url, max, name, log, statementMs = STATEMENT_TIMEOUT_MS, options }: PoolOptions): pg.Pool {
  const sockets = createSockets();
  const pool = new pg.Pool({
    connectionString: currentUrl(url),
    max,
    application_name: name,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: statementMs,
    query_timeout: statementMs + ANSWER_TIMEOUT_MS,
    idle_in_transaction_session_timeout: 60_000,
    ...LIVELINESS,
    options: [LIVELINESS.options, options].filter(Boolean).join(' '),
    stream: sockets.open,
  });
  if (typeof url === 'function') followPassword(pool, url);
  pool.on('error', (error) => {
    // While it ends, a server that ends too may be the quicker one.
    if (!pool.ending) log.warn({ err: error }, 'a database connection broke; the next statement opens another');
  });
  // A checked-out client that breaks emits on itself, and an unheard error event would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  // What a network forgot, it forgot all of: the next statements need not find out one by one.
  pool.on('release', (error) => {
    if (isSilence(error)) sockets.cutSilent(statementMs);
  });
  const end = pool.end.bind(pool);
  return Object.assign(pool, { end: () => sockets.end(end()) });
}

/** Lets each new connection of the pool ask for the password, and wait for it while it is rotated. */
function followPassword(pool: pg.Pool, url: () => string): void {
  Object.defineProperty(pool.options, 'connectionString', { get: url, enumerable: true });
  type Callback = Parameters<pg.Pool['connect']>[0];
  const connect = pool.connect.bind(pool) as () => Promise<pg.PoolClient>;
  const connectPatiently = (callback?: Callback) => {
    const client = openPatiently(url, connect);
    // The pool's own `query` calls it in this way.
    return callback
      ? void client.then(
          (one) => callback(undefined, one, one.release),
          (error) => callback(error, undefined, () => {}),
        )
      : client;
  };
  Object.assign(pool, { connect: connectPatiently });
}

/** Kysely over a pool. */
export function createDb(pool: pg.Pool): Db {
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool: discarding(pool) }) });
}

/** A plan that is kept was made for tables of some size: one of an empty table reads all of it, and it may be long by now. */
const PLANS_KEPT_MS = 2_000;
const plannedAt = new WeakMap<pg.PoolClient, number>();

async function renewPlans(client: pg.PoolClient): Promise<void> {
  const now = performance.now();
  const at = plannedAt.get(client);
  if (at !== undefined && now - at < PLANS_KEPT_MS) return;
  plannedAt.set(client, now);
  if (at !== undefined) await client.query('discard plans');
}

/**
 * Of what it hands out, takes back only connections that answered: one whose statement timed out still waits for that
 * answer, and the next statement would wait behind it. Nor those whose kept statements are of no use any more.
 */
function discarding(pool: pg.Pool): PostgresPool {
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect();
      let silence: Error | undefined;
      let outlived = false;
      const query = async (text: string, parameters: readonly unknown[]) => {
        if (silence) throw silence;
        const [name, values] = [nameOf(text), parameters as unknown[]];
        try {
          if (name) await renewPlans(client);
          return await inStatement(text, () => client.query({ name, text, values }));
        } catch (error) {
          if (isSilence(error)) silence = error;
          if (name && isOutlived(error)) outlived = true;
          throw error;
        }
      };
      return {
        // Nothing of ours reads through cursors, the other way to call it.
        query: query as unknown as PostgresPoolClient['query'],
        release: (destroy) => client.release(silence ?? (outlived || destroy)),
      };
    },
  };
}

/** Whether an error is anything but an answer of Postgres. */
function isSilence(error: unknown): error is Error {
  return error instanceof Error && !(error instanceof pg.DatabaseError);
}

/**
 * Whether a statement that a connection keeps will be refused for ever: a migration gave its answer other columns (0A000), or what
 * stands in front of Postgres gave the connection another session, which does not know it (26000) or knows it already (42P05).
 */
export function isOutlived(error: unknown): boolean {
  return error instanceof pg.DatabaseError && /^(0A000|26000|42P05)$/.test(error.code ?? '');
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

import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** The last four: no name, no name server, no descriptors left. */
const SOCKET_ERRORS = /^E(CONN[A-Z]+|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NOTFOUND|AI_AGAIN|MFILE|NFILE)$/;
/** What pg says of its connections and of its pool carries no code. */
const PG_MESSAGES =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client (has encountered a connection error|was closed)|Cannot use a pool after calling end)/;

/** Whether an error says that the database is away or takes no writes: SQLSTATE classes 08, 25, 53 and 57, or an error below SQL. */
export function isDatabaseAway(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return /^(08|25|53|57)/.test(String(code)) || SOCKET_ERRORS.test(String(code)) || PG_MESSAGES.test(String(message));
}

/**
 * Whether an error is of one statement that was too much in memory (53200) or in time (57014): worth another try, as one of
 * a database that is away, but it says nothing of what others are answered.
 */
export function isTooMuch(error: unknown): boolean {
  return /^(53200|57014)$/.test(String(((error ?? {}) as { code?: unknown }).code));
}

/**
 * Whether an error leaves open if what was asked was written: the connection was lost or the server went down. Of what is
 * away in other ways (no room, read-only, a statement that was ended), Postgres itself said that it wrote nothing.
 */
export function isOutcomeUnknown(error: unknown): boolean {
  return isDatabaseAway(error) && !/^(25|53|57014)/.test(String((error as { code?: unknown }).code));
}

/** Whether the database takes writes. @throws when it does not answer */
export async function isWritable(db: Db): Promise<boolean> {
  const { rows } = await sql<{ writable: boolean }>`
    select not (current_setting('transaction_read_only')::boolean or pg_is_in_recovery()) as writable`.execute(db);
  return rows[0]?.writable === true;
}

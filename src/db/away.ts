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

/** Whether the database takes writes. @throws when it does not answer */
export async function isWritable(db: Db): Promise<boolean> {
  const { rows } = await sql<{ writable: boolean }>`
    select not (current_setting('transaction_read_only')::boolean or pg_is_in_recovery()) as writable`.execute(db);
  return rows[0]?.writable === true;
}

import { type Selectable, sql } from 'kysely';
import type { Db } from './connect.ts';
import type { Place } from './prepared.ts';
import type { IdempotencyKeyTable } from './schema.ts';

/** How long an answer is kept under its key. */
const KEPT_SECONDS = 86_400;
/** How long a request may work before its key is free again, as after a crash. Longer than our statements may take. */
const LEASE_SECONDS = 60;

/** An idempotency key, as one request brings it. */
export interface KeyUse {
  user_id: string;
  /** Whose keys it is among: those of an API key, or of the user where a session asks. */
  caller: string;
  key: string;
  /** What is asked for, hashed: something else under the same key is refused. */
  fingerprint: Buffer;
  /** The same as it was hashed under other keys that are known. */
  others?: Buffer[];
  /** The name of this request; only who holds the key may write its answer. */
  holder: string;
}

export type KeyRow = Pick<
  Selectable<IdempotencyKeyTable>,
  'user_id' | 'caller' | 'key' | 'fingerprint' | 'holder' | 'answer' | 'created_at'
>;

/**
 * Where a request stands with its key: it is the first (`mine`), the first has its answer (`answered`), the first is still
 * at work (`in_use`), or the first asked for something else (`reused`).
 */
export type Standing =
  | { is: 'mine' }
  | { is: 'answered'; answer: Buffer; created_at: Date }
  | { is: 'in_use' }
  | { is: 'reused' };

export type Taken = Exclude<Standing, { is: 'mine' }>;

/** Reads a {@link Standing} from the row that `held` answered for the key. */
export function standingOf(use: KeyUse, row: KeyRow): Standing {
  if (row.holder === use.holder) return { is: 'mine' };
  if (![use.fingerprint, ...(use.others ?? [])].some((one) => row.fingerprint.equals(one))) return { is: 'reused' };
  return row.answer ? { is: 'answered', answer: row.answer, created_at: row.created_at } : { is: 'in_use' };
}

/** Keys as {@link takeKeys} is given them, in JSON. Without an answer a key is taken for the time of a lease. */
export function jsonOfKeys(uses: Array<KeyUse & { answer: Buffer | null }>): string {
  return JSON.stringify(
    uses.map(({ fingerprint, others: _, answer, ...use }) => ({
      ...use,
      fingerprint: fingerprint.toString('base64'),
      answer: answer?.toString('base64'),
    })),
  );
}

/**
 * A common table expression that takes keys, and answers as `held` the row of each as it is then: our own, or the one of
 * whoever was first and is not expired. With an answer a key is kept for a day, without one for the time of a lease.
 * Each key may be there once. A statement of another process that takes the same key is waited for.
 */
export function takeKeys(uses: string | Place) {
  // In one order everywhere, so that two statements never wait for each other. The update writes back what was there:
  // only an updated row is answered as it is now, and not as it was when the statement began.
  return sql`held as (
      insert into idempotency_keys as k (user_id, caller, key, fingerprint, holder, answer, expires_at)
      select user_id, caller, key, decode(fingerprint, 'base64'), holder, decode(answer, 'base64'),
        now() + case when answer is null then ${LEASE_SECONDS}::int else ${KEPT_SECONDS}::int end * interval '1 second'
      from json_to_recordset(${uses}::json)
        as g(user_id uuid, caller uuid, key text, fingerprint text, holder uuid, answer text)
      order by user_id, caller, key
      on conflict (user_id, caller, key) do update set
        fingerprint = case when k.expires_at > now() then k.fingerprint else excluded.fingerprint end,
        holder = case when k.expires_at > now() then k.holder else excluded.holder end,
        answer = case when k.expires_at > now() then k.answer else excluded.answer end,
        created_at = case when k.expires_at > now() then k.created_at else excluded.created_at end,
        expires_at = case when k.expires_at > now() then k.expires_at else excluded.expires_at end
      returning user_id, caller, key, fingerprint, holder, answer, created_at
    )`;
}

/** Takes a key for the time of a lease; who has it as `mine` either keeps an answer or frees it. */
export async function takeKey(db: Db, use: KeyUse): Promise<Standing> {
  const { rows } = await sql<KeyRow>`
    with ${takeKeys(jsonOfKeys([{ ...use, answer: null }]))} select * from held`.execute(db);
  return standingOf(use, rows[0] as KeyRow);
}

const named = ({ user_id, caller, key }: KeyUse) => sql`user_id = ${user_id} and caller = ${caller} and key = ${key}`;

/** Looks whether somebody else has the key; `undefined` where it is free. */
export async function findKey(db: Db, use: KeyUse): Promise<Taken | undefined> {
  const { rows } = await sql<KeyRow>`
    select user_id, caller, key, fingerprint, holder, answer, created_at from idempotency_keys
    where ${named(use)} and expires_at > now()`.execute(db);
  const standing = rows[0] && standingOf(use, rows[0]);
  return standing?.is === 'mine' ? undefined : standing;
}

/** Keeps the answer of the request that holds the key, for a day from when it took it. */
export async function keepAnswer(db: Db, use: KeyUse, answer: Buffer): Promise<void> {
  await sql`
    update idempotency_keys set answer = ${answer}, expires_at = created_at + ${KEPT_SECONDS}::int * interval '1 second'
    where ${named(use)} and holder = ${use.holder} and answer is null`.execute(db);
}

/** Frees the key of a request that did nothing. */
export async function freeKey(db: Db, use: KeyUse): Promise<void> {
  await sql`
    delete from idempotency_keys
    where ${named(use)} and holder = ${use.holder} and answer is null`.execute(db);
}

/** Removes keys whose time is over, at most `limit` a call; answers how many there were. */
export async function deleteExpiredKeys(db: Db, limit: number): Promise<number> {
  // By the place of the rows, which are locked: looking each of them up by its name again costs four times as much.
  const { numAffectedRows } = await sql`
    delete from idempotency_keys where ctid = any(array(
      select ctid from idempotency_keys where expires_at <= now()
      order by expires_at limit ${limit} for update skip locked
    ))`.execute(db);
  return Number(numAffectedRows ?? 0);
}

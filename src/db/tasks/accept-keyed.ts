import { sql, type Transaction } from 'kysely';
import type { Db } from '../connect.ts';
import { findKey } from '../idempotency.ts';
import type { ConcurrencyPolicy, Database } from '../schema.ts';
import { type Accepted, acceptMany, type NewTask, type Submitted } from './accept.ts';
import { type KeyLimit, supersedeTasks } from './steer.ts';
import type { Transition } from './transition.ts';

/** Spells `sutk`; apart from the locks of others. */
const KEY_LOCK = 0x7375746b;
/** So many of those that hold a key are named in a refusal. */
const NAMED = 20;

/** Why a submission is refused: the task at that index would be one too many of its key. */
export interface KeyFull {
  is: 'full';
  index: number;
  /** Tasks of the key that have not ended, the newest first; of many the first. */
  holders: string[];
}

/** What became of a submission, and which tasks had to make room for it. */
export interface KeyedAccepted {
  accepted: Accepted | KeyFull;
  superseded: Transition[];
}

/** Whether a submission has to be looked at together with what is there of its keys. */
export function looksAtKeys(tasks: NewTask[]): boolean {
  return tasks.some(
    ({ concurrency_policy }) => concurrency_policy === 'reject' || concurrency_policy === 'cancel_running',
  );
}

/**
 * Stores a submission as `acceptMany` does, but all of it or nothing where a task says `reject` and would be one too many, and
 * cancels the oldest of a key beyond its limit where the newest says `cancel_running`. Submissions of one key wait for each other.
 */
export async function acceptKeyed(db: Db, submitted: Submitted): Promise<KeyedAccepted> {
  return db.transaction().execute((trx) => storeKeyed(trx, submitted));
}

/** The same in a transaction that is under way. */
export async function storeKeyed(trx: Transaction<Database>, submitted: Submitted): Promise<KeyedAccepted> {
  const { tasks, key } = submitted;
  if (looksAtKeys(tasks)) await lockKeys(trx, tasks);
  // A repetition gets the first answer, whatever holds the key by now.
  const first = key && (await findKey(trx, key));
  if (first) return { accepted: first, superseded: [] };
  const full = await findFull(trx, tasks);
  if (full) return { accepted: full, superseded: [] };
  const [accepted] = await acceptMany(trx, [submitted]);
  const superseded = accepted?.is === 'stored' ? await supersede(trx, tasks) : [];
  return { accepted: accepted as Accepted, superseded };
}

async function lockKeys(trx: Transaction<Database>, tasks: NewTask[]): Promise<void> {
  const keyed = tasks.filter(({ concurrency_key }) => concurrency_key !== undefined);
  await sql`
    select pg_advisory_xact_lock(${KEY_LOCK}::int, key) from (
      select distinct hashtext(user_id || ' ' || name) as key
      from unnest(${keyed.map(({ user_id }) => user_id)}::text[], ${keyed.map((task) => task.concurrency_key ?? '')}::text[])
        as g(user_id, name) order by key
    ) k`.execute(trx);
}

/** The first task that says `reject` and finds as many of its key as may be, those before it counted. */
async function findFull(trx: Transaction<Database>, tasks: NewTask[]): Promise<KeyFull | undefined> {
  const known = await listHolders(trx, limitsOf(tasks, 'reject'));
  const earlier = new Map<string, number>();
  for (const [index, { concurrency_key: key, concurrency_limit = 1, concurrency_policy }] of tasks.entries()) {
    if (key === undefined) continue;
    const before = earlier.get(key) ?? 0;
    earlier.set(key, before + 1);
    if (concurrency_policy !== 'reject') continue;
    const holders = known.get(key) ?? [];
    if (before + holders.length >= concurrency_limit) return { is: 'full', index, holders: holders.slice(0, NAMED) };
  }
  return undefined;
}

/** The keys of those tasks that say so, which are of one user; of each the highest limit that one of them names. */
function limitsOf(tasks: NewTask[], policy: ConcurrencyPolicy): KeyLimit[] {
  const limits = new Map<string, KeyLimit>();
  for (const { user_id, concurrency_key: key, concurrency_limit = 1, concurrency_policy } of tasks)
    if (key !== undefined && concurrency_policy === policy)
      limits.set(key, { user_id, key, most: Math.max(limits.get(key)?.most ?? 0, concurrency_limit) });
  return [...limits.values()];
}

/** The tasks of each key that have not ended, the newest first, as many as may be there and no fewer than are named. */
async function listHolders(trx: Transaction<Database>, keys: KeyLimit[]): Promise<Map<string, string[]>> {
  if (keys.length === 0) return new Map();
  const { rows } = await sql<{ key: string; holders: string[] }>`
    select g.key, array(
      select t.id from tasks t where t.user_id = g.user_id and t.concurrency_key = g.key
        and t.status in ('scheduled', 'pending', 'running', 'cancelling')
      order by t.id desc limit greatest(g.most, ${NAMED}::int)) as holders
    from json_to_recordset(${JSON.stringify(keys)}::json) as g(user_id uuid, key text, most int)`.execute(trx);
  return new Map(rows.map(({ key, holders }) => [key, holders]));
}

/** What the newest task of each key says counts for the key. */
async function supersede(trx: Transaction<Database>, tasks: NewTask[]): Promise<Transition[]> {
  const newest = new Map(tasks.map((task) => [task.concurrency_key, task]));
  const keys = limitsOf([...newest.values()], 'cancel_running');
  return keys.length > 0 ? supersedeTasks(trx, keys) : [];
}

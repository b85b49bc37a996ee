import { type RawBuilder, sql } from 'kysely';
import { noteStops } from '../agent-calls.ts';
import type { Db } from '../connect.ts';
import { noteEnds } from '../workflows/ends.ts';
import { isHeld } from './claim.ts';
import { announce, countEnded, insertDeliveries, recordCancel, type Transition } from './transition.ts';

/** Whether a task (`t`) waits, runs or is parked. */
export const canBeStopped = sql`t.status in ('scheduled', 'pending', 'running')`;

/** Whether what a task (`t`) is a part of, if anything, has ended: until then it goes on with what the task gave. */
export const isReleased = sql`not exists (select from tasks p where p.id = t.parent_id and p.completed_at is null)`;

/**
 * Why tasks are stopped, and who asked for it by name; `expires` where those that were never started shall say so, and what
 * somebody else is changing is left for later.
 */
export interface Stopping {
  reason: string;
  by: string | null;
  expires?: true;
}

/** What is said of tasks that are stopped because they are parts of another one. */
const PARENT = 'parent';

/**
 * Stops tasks and all that are parts of them: what a worker holds → cancelling, which it hears of, anything else → ended at
 * once. @param those a query for the ids; what it finds and is being changed is looked at again once that is over
 */
export async function stopTasks(db: Db, those: RawBuilder<unknown>, stopping: Stopping): Promise<Transition[]> {
  return inTransaction(db, async (trx) => {
    const all = await stopFamilies(trx, those, stopping);
    // Whoever adds parts holds their parent for that. What was added while it was waited for, the statement did not see;
    // now that the parent is stopped, nothing is added any more.
    for (let moved = all; moved.length > 0; ) {
      const parents = moved.map(({ id }) => id);
      const rest = sql`select t.id from tasks t where t.parent_id = any(${parents}::uuid[]) and ${canBeStopped}`;
      moved = await stopFamilies(trx, rest, { reason: PARENT, by: stopping.by });
      all.push(...moved);
    }
    return all;
  });
}

/** Stops the parts of a task, or those that have not begun. */
export function stopParts(
  db: Db,
  id: string,
  { reason, waiting = false }: { reason: string; waiting?: boolean },
): Promise<Transition[]> {
  const those = sql`select t.id from tasks t where t.parent_id = ${id} and ${canBeStopped}
    ${waiting ? sql`and t.status <> 'running'` : sql``}`;
  return stopTasks(db, those, { reason, by: null });
}

/** All rows in one statement, locked in the order of ids, as all that changes many tasks locks them. */
async function stopFamilies(
  trx: Db,
  those: RawBuilder<unknown>,
  { reason, by, expires = false }: Omit<Stopping, 'expires'> & { expires?: boolean },
): Promise<Transition[]> {
  const { rows } = await sql<Transition>`
    with recursive asked as (${those}), family(id) as (
      select id from asked
      union
      select part.id from family f, lateral (
        select p.id from tasks p where p.parent_id = f.id and p.completed_at is null offset 0) as part
    ), held as (
      select t.id, t.id = any(array(select id from asked)) as asked, ${isHeld} as held from tasks t
      where t.id = any(array(select id from family)) and ${canBeStopped} order by t.id for update of t ${expires ? sql`skip locked` : sql``}
    ), moved as (
      update tasks t set
        status = case when h.held then 'cancelling' when ${expires} and h.asked and t.status <> 'running' and t.attempt = 0 then 'expired' else 'cancelled' end,
        completed_at = case when not h.held then clock_timestamp() end, awaiting = null, awaiting_until = null, error = null,
        cancel_reason = case when h.asked then ${reason} else ${PARENT} end
      from held h where t.id = h.id
      returning t.*
    ), ${recordCancel('moved', by)}, ${noteEnds('moved')}, ${noteStops('moved')}, ${insertDeliveries('moved')}
    ${announce('moved')}`.execute(trx);
  countEnded(rows);
  return rows;
}

/** Ends parked tasks that somebody began to cancel who does not know of parking, a process of an earlier version, and their parts. */
export async function endForsaken(db: Db, limit: number): Promise<Transition[]> {
  return inTransaction(db, async (trx) => {
    const ended = await endThem(trx, limit);
    if (ended.length === 0) return [];
    const parents = ended.map(({ id }) => id);
    const parts = sql`select t.id from tasks t where t.parent_id = any(${parents}::uuid[]) and ${canBeStopped}`;
    return [...ended, ...(await stopTasks(trx, parts, { reason: PARENT, by: null }))];
  });
}

async function endThem(trx: Db, limit: number): Promise<Transition[]> {
  const { rows } = await sql<Transition>`
    with those as (
      select id from tasks where awaiting is not null and status = 'cancelling' limit ${limit} for update skip locked
    ), moved as (
      update tasks t set status = 'cancelled', completed_at = clock_timestamp(), awaiting = null, awaiting_until = null
      from those where t.id = those.id
      returning t.*
    ), ${noteEnds('moved')}, ${insertDeliveries('moved')}
    ${announce('moved')}`.execute(trx);
  countEnded(rows);
  return rows;
}

function inTransaction<T>(db: Db, work: (trx: Db) => Promise<T>): Promise<T> {
  return db.isTransaction ? work(db) : db.transaction().execute(work);
}

import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { announce, recordResumed, type Transition } from './transition.ts';

/** Tells a task that there is something for it. */
export interface Signal {
  id: string;
  /** What is kept for it, under a name that was free until now; without it the task is only woken. */
  memo?: { name: string; value: unknown };
  /** The life of the task that it is meant for; without it, for any. */
  life?: number;
}

/** What became of a signal: the name was taken before, or there is no such task that has not ended, not in that life. */
export type Signalled = { is: 'taken'; woken: Transition | undefined } | { is: 'used' } | { is: 'gone' };

/** What waking a parked task changes of it; it keeps its place in line. */
const wake = sql`status = 'pending', generation = t.generation + 1, awaiting = null, awaiting_until = null,
  queued_at = coalesce(t.queued_at, t.ready_at), ready_at = now()`;

interface Row {
  id: string;
  life: number;
  stored: string[] | null;
  woken: boolean;
}

/**
 * Signals tasks in one statement: stores what is sent to them, each name once, and wakes those that are parked. One that is
 * not parked now takes notice all the same: it does not stay parked after an attempt that was claimed before. Answers in the
 * order given. Of two signals in one call with the same task and name the first counts.
 */
export async function sendSignals(db: Db, signals: Signal[]): Promise<Signalled[]> {
  const given = signals.map(({ id, memo, life }, place) => ({
    ...{ place, id, life: life ?? null, name: memo?.name ?? null },
    // As text: the functions that read it would take a JSON null for none.
    value: memo ? JSON.stringify(memo.value ?? null) : null,
  }));
  const { rows } = await sql<Row & Transition>`
    with given as (
      select * from json_to_recordset(${JSON.stringify(given)}::json) as g(place int, id uuid, life int, name text, value text)
    ), those as (
      select t.id, t.attempt, t.life, t.awaiting is not null and t.status = 'running' as parked from tasks t
      where t.id = any(${signals.map(({ id }) => id)}::uuid[]) and t.completed_at is null order by t.id for update of t
    ), noted as (
      insert into task_memos (task_id, name, attempt, kind, value, started_at, ended_at)
      select t.id, g.name, t.attempt, 'signal', g.value::json, at, at
      from (select distinct on (id, name) * from given where name is not null order by id, name, place) g
        join those t on t.id = g.id and (g.life is null or g.life = t.life), lateral (select clock_timestamp() as at) now
      on conflict (task_id, name) do nothing
      returning task_id, name
    ), heard as (
      select distinct t.id, t.parked from those t join given g on g.id = t.id and (g.life is null or g.life = t.life)
      where g.name is null or exists (select from noted n where n.task_id = t.id and n.name = g.name)
    ), counted as (
      update tasks t set signals = t.signals + 1 from heard h where t.id = h.id and not h.parked
    ), moved as (
      update tasks t set signals = t.signals + 1, ${wake} from heard h where t.id = h.id and h.parked
      returning t.*
    ), ${recordResumed(sql`moved`, 'signal')}
    woken as (${announce('moved', false)})
    select those.life, (select array_agg(n.name) from noted n where n.task_id = those.id) as stored,
      woken.id is not null as woken, woken.*, those.id as id
    from those left join woken on woken.id = those.id`.execute(db);
  const found = new Map(rows.map((row) => [row.id, row]));
  const taken = new Set<string>();
  return signals.map(({ id, memo, life }): Signalled => {
    const row = found.get(id);
    if (!row || (life !== undefined && life !== row.life)) return { is: 'gone' };
    const key = `${id} ${memo?.name}`;
    if (memo && (!row.stored?.includes(memo.name) || taken.has(key))) return { is: 'used' };
    taken.add(key);
    return { is: 'taken', woken: row.woken ? transitionOf(row) : undefined };
  });
}

/** Signals tasks as {@link sendSignals} does; answers those that were woken and want a job now. */
export async function signalTasks(db: Db, signals: Signal[]): Promise<Transition[]> {
  const sent = await sendSignals(db, signals);
  const woken = sent.flatMap((one) => (one.is === 'taken' && one.woken ? [one.woken] : []));
  return [...new Map(woken.map((one) => [one.id, one])).values()];
}

/** Wakes parked tasks whose time is over. At most `limit` a call. */
export async function wakeLate(db: Db, limit: number): Promise<Transition[]> {
  const { rows } = await sql<Transition>`
    with late as (
      select id from tasks where awaiting is not null and awaiting_until <= now() and status = 'running'
      order by awaiting_until limit ${limit} for update skip locked
    ), moved as (
      update tasks t set ${wake} from late where t.id = late.id
      returning t.*
    ), ${recordResumed(sql`moved`, 'late')}
    woken as (${announce('moved', false)})
    select * from woken`.execute(db);
  return rows;
}

const transitionOf = ({ life: _, stored: __, woken: ___, ...moved }: Row & Transition): Transition => moved;

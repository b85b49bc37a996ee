import { sql } from 'kysely';
import type { Lane } from '../../tasks/lanes.ts';
import type { Db } from '../connect.ts';
import type { Claim } from './run.ts';

/** A waiting task or delivery for which a job ought to exist. */
export interface Waiting {
  id: string;
  /** The time a list is ordered by, as Postgres writes it: a `Date` would cut the microseconds off and a page would start too early. */
  place: string;
  type: string;
  lane: Lane;
  priority: number;
  generation: number;
  ready_at: Date;
  /** Since when it stands in line, where that is not `ready_at`. */
  queued_at: Date | null;
  request_id: string | null;
}

/** A place in a list of waiting rows; the first page starts at {@link BEGINNING}. */
export type Place = Pick<Waiting, 'place' | 'id'>;

export const BEGINNING: Place = { place: '-infinity', id: '00000000-0000-0000-0000-000000000000' };

const columns = sql.raw('id, type, lane, priority, generation, ready_at, queued_at, request_id, parent_id');

/** What is held back has no job until it is called. */
const wantsJob = sql`(held_by is null or called)`;

/** A page of the tasks that became ready before `quietMs` ago, after `place`, in the order in which they did. */
export async function listWaitingTasks(db: Db, place: Place, quietMs: number, limit: number): Promise<Waiting[]> {
  const { rows } = await sql<Waiting>`
    select ${columns}, ready_at::text as place from tasks
    where status in ('scheduled', 'pending') and ${wantsJob} and (ready_at, id) > (${place.place}::timestamptz, ${place.id}::uuid)
      and ready_at < now() - ${quietMs}::int * interval '1 millisecond'
    order by ready_at, id limit ${limit}`.execute(db);
  return rows;
}

/** One class of one lane. */
export interface Class {
  lane: Lane;
  priority: number;
}

/**
 * A page of everything that waits in a class, what is due later included, after `place`, in the order in which it stands
 * in line. What became ready less than `quietMs` ago is left out: its job may be just on the way.
 */
export async function listLine(
  db: Db,
  { lane, priority }: Class,
  place: Place,
  quietMs: number,
  limit: number,
): Promise<Waiting[]> {
  const { rows } = await sql<Waiting>`
    select ${columns}, coalesce(queued_at, ready_at)::text as place from tasks
    where lane = ${lane} and priority = ${priority} and status in ('scheduled', 'pending') and ${wantsJob}
      and (coalesce(queued_at, ready_at), id) > (${place.place}::timestamptz, ${place.id}::uuid)
      and not ready_at between now() - ${quietMs}::int * interval '1 millisecond' and now()
    order by coalesce(queued_at, ready_at), id limit ${limit}`.execute(db);
  return rows;
}

/** The classes in which tasks wait that have a job or are to have one. */
export async function listClasses(db: Db): Promise<Class[]> {
  // Postgres has no skip scan for this, and a scan of the index would grow with the number of waiting tasks.
  const { rows } = await sql<Class>`
    with recursive found as (
      (select lane, priority from tasks where status in ('scheduled', 'pending') and ${wantsJob} order by lane, priority limit 1)
      union all
      select next.lane, next.priority from found, lateral (
        select lane, priority from tasks where status in ('scheduled', 'pending') and ${wantsJob}
          and (lane, priority) > (found.lane, found.priority) order by lane, priority limit 1
      ) as next
    )
    select lane, priority from found`.execute(db);
  return rows;
}

/** Those of the jobs whose row, a task or a delivery, is gone, has ended or stands in another generation. */
export async function findOrphans(db: Db, jobs: Claim[]): Promise<Claim[]> {
  const { rows } = await sql<Claim>`
    select j.id, j.generation
    from unnest(${jobs.map(({ id }) => id)}::uuid[], ${jobs.map(({ generation }) => generation)}::int[]) as j(id, generation)
    where not exists (select from tasks t where t.id = j.id and t.generation = j.generation
        and t.status in ('scheduled', 'pending', 'running', 'cancelling'))
      and not exists (select from deliveries d where d.id = j.id and d.generation = j.generation
        and d.status in ('pending', 'running'))`.execute(db);
  return rows;
}

/** The place before everything that became ready less than `ms` ago; no other than `known` where that is not before it. */
export async function placeBefore(db: Db, ms: number, known = BEGINNING): Promise<Place> {
  const { rows } = await sql<{ place: string }>`
    select at::text as place from (select now() - ${ms}::int * interval '1 millisecond' as at) as t
    where at > ${known.place}::timestamptz`.execute(db);
  return rows[0] ? { ...BEGINNING, ...rows[0] } : known;
}

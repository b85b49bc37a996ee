import { type RawBuilder, sql } from 'kysely';
import type { Db } from '../connect.ts';
import { CLOCKS_DIFFER_MS, firstIdAt, shift } from '../ids.ts';
import { ENDED } from '../schema.ts';

/** How many days what has ended is kept, by status, and what is in it; 0 is for ever. */
export type RetentionDays = Readonly<Record<(typeof ENDED)[number] | 'payload', number>>;

/** A task on the way through the old ones; whether its time is over, or that of what is in it. */
export interface Old {
  id: string;
  over: boolean;
  empty: boolean;
}

const DAY_MS = 86_400_000;

/** Whether a task ended before so many days, by the clock of the database. */
export const endedBefore = (days: number) => sql<boolean>`completed_at < now() - ${days}::int * interval '1 day'`;

/** The same with the days of its status. */
function isOver(days: RetentionDays) {
  const own = ENDED.filter((status) => days[status] > 0).map(
    (status) => sql`(status = ${status} and ${endedBefore(days[status])})`,
  );
  return sql<boolean>`(${sql.join([sql`false`, ...own], sql` or `)})`;
}

/** Of the whole that a task (`t`) is a part of. */
const ofWhole = (condition: RawBuilder<boolean>) =>
  sql<boolean>`(select ${condition} from tasks whole where whole.id = t.parent_id)`;

/** Whether the time of a task (`t`) is over. A part of another one is kept as long as that, and goes before it. */
function mayGo(days: RetentionDays) {
  const over = isOver(days);
  return sql<boolean>`(case when t.parent_id is null then ${over} else t.completed_at is not null and ${ofWhole(over)} end)`;
}

const hasNoParts = (task: string) =>
  sql<boolean>`not exists (select from tasks part where part.parent_id = ${sql.ref(`${task}.id`)})`;

/**
 * The next page of tasks, after this id, of which something may be kept no longer, the oldest first. They are found by when they were
 * made, whatever their status; those that waited or ran for long are passed by. What a webhook is still to hear of is not over.
 */
export async function listOld(db: Db, days: RetentionDays, after: string, limit: number): Promise<Old[]> {
  const shortest = Math.min(...Object.values(days).filter((some) => some > 0));
  if (shortest === Number.POSITIVE_INFINITY) return [];
  // Who ended before then was made before then.
  const before = firstIdAt(shift(new Date(), CLOCKS_DIFFER_MS - shortest * DAY_MS));
  const old = endedBefore(days.payload);
  // What a part came to may be wanted as long as the whole can go on.
  const hasEmptied =
    days.payload > 0
      ? sql`(t.payload_deleted_at is null and ${old} and (t.parent_id is null or ${ofWhole(old)}))`
      : sql`false`;
  // Its bound is asked of the page alone: where Postgres expects few tasks before it, it would sort them all for each page.
  const { rows } = await sql<Old>`
    select id, coalesce(over and told and ${hasNoParts('page')}, false) as over, coalesce(empty and told, false) as empty from (
      select id, completed_at, ${mayGo(days)} as over, ${hasEmptied} as empty from tasks t
      where id > ${after}::uuid order by id limit ${limit}
    ) page, lateral (select case when over or empty then not exists (
      select from deliveries d where d.task_id = page.id and d.status in ('pending', 'running')) end as told) t
    where id < ${before}::uuid order by id`.execute(db);
  return rows;
}

/** Deletes those of the tasks whose days are over, with what hangs on them; nobody is waited for. Answers how many. */
export async function deleteTasks(db: Db, ids: string[], days: RetentionDays): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from tasks where id in (
      select id from tasks t where id = any(${ids}::uuid[]) and ${mayGo(days)} and ${hasNoParts('t')} order by id for update skip locked
    )`.execute(db);
  return Number(numAffectedRows ?? 0);
}

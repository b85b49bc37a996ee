import { type RawBuilder, sql } from 'kysely';
import type { TaskFilter } from '../../tasks/task-filter.ts';
import type { Db } from '../connect.ts';
import { pageOf } from '../page.ts';
import { STATUSES, type Status } from '../schema.ts';
import { conditionOf, fullName, idAfter, idUpTo, type Owner, owned } from './filter.ts';
import type { TaskRow } from './read.ts';
import { alone, type Bounds, merged, type Newest, newest, type TaskList, type TaskLists } from './task-list.ts';
import { walk } from './walk.ts';
import { findWords } from './words.ts';

/** So many entries are looked at of a list that stands alone, before it is walked. */
const FIRST_LOOK = 512;
/** In so many rounds the tasks of very common words are found among any, or they are not as common as that. */
const ROUNDS_OF_COMMON = 3;

/**
 * A page of tasks, newest first; one more than `limit` is read to know whether there is a next page.
 * @param page.cursor only tasks older than this one
 */
export async function listTasks(
  db: Db,
  owner: Owner,
  filter: TaskFilter,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: TaskRow[]; next: string | null }> {
  const rows = await findTasks<TaskRow>(db, owner, filter, { limit: limit + 1, cursor, columns: sql`tasks.*` });
  return pageOf(rows, limit);
}

interface Wanted {
  limit: number;
  /** Only tasks older than this one. */
  cursor?: string;
  /** Columns of `tasks`. */
  columns: RawBuilder<unknown>;
  /** What else has to hold for a row of `tasks`. */
  also?: RawBuilder<boolean>;
}

/**
 * The newest tasks that a filter chooses.
 *
 * Each filter has a list of its own, in the order of ids, because the planner of Postgres cannot know which filter is rare
 * for this user, nor where in the years its tasks lie. One statement walks all of them at once.
 */
export async function findTasks<T extends { id: string }>(
  db: Db,
  owner: Owner,
  filter: TaskFilter,
  { limit, cursor, columns, also }: Wanted,
): Promise<T[]> {
  const words = await findWords(db, owner, filter);
  if (!words) return [];
  const { sorted } = words;
  const lists = [...words.lists, ...columnLists(owner, filter).map(alone)];
  if (lists.length === 0) lists.push(alone(columnList(owner, sql`true`)));
  const found: T[] = [];
  const left = () => limit - found.length;
  const all = sql.join([conditionOf(owner, filter), words.holds, also ?? sql`true`], sql` and `);
  /** Reads the tasks of some entries; answers from where on there may be more, where that is needed. */
  const add = async (entries: Newest, holds: RawBuilder<unknown>): Promise<Bounds | undefined> => {
    // As a lateral query, so that tasks are looked up one by one however many the planner expects.
    const { rows } = await sql<T & { entries_rest: string | null }>`
      select task.*, newest.rest as entries_rest from (${entries}) as newest left join lateral (
        select task.* from unnest(newest.ids) as entry(id) cross join lateral (
          select ${columns} from tasks where tasks.id = entry.id and ${holds} offset 0
        ) as task order by entry.id desc limit ${left()}
      ) as task on true`.execute(db);
    for (const { entries_rest, ...row } of rows) if (row.id !== null) found.push(row as unknown as T);
    const rest = rows[0]?.entries_rest;
    return rest && left() > 0 ? { after, upTo: rest } : undefined;
  };
  const walked = (some: TaskLists[], bounds: Bounds, rounds?: number) =>
    add(walk(some, bounds, { limit: left(), holds: all, rounds }), sql`true`);

  const after = idAfter(filter);
  const bounds = { after, upTo: idUpTo(filter, cursor) };
  const [first, ...others] = lists as [TaskLists, ...TaskLists[]];
  if (first.count === 1 && others.length === 0) {
    // All of a list that stands alone fits, but that times are those of one clock and ids of another, and some words have no list.
    const exact = !filter.created_after && !filter.created_before && !also && !sorted;
    const rest = await add(newest(first, bounds, exact ? limit : Math.max(FIRST_LOOK, limit)), all);
    if (rest) await walked(sorted ? [sorted, first] : lists, rest);
  } else {
    const rest = await walked(lists, bounds, sorted && ROUNDS_OF_COMMON);
    if (rest && sorted) await walked([sorted, ...lists], rest);
  }
  return found;
}

function columnLists(
  owner: Owner,
  { batch_id, parent_id, schedule_id, error_code, agent_id, model, status, type }: TaskFilter,
): TaskList[] {
  const lists: TaskList[] = [];
  const add = (holds: RawBuilder<unknown>) => lists.push(columnList(owner, holds));
  if (batch_id) add(sql`batch_id = ${batch_id}`);
  if (parent_id) add(sql`parent_id = ${parent_id}`);
  if (schedule_id) add(sql`schedule_id = ${schedule_id}`);
  if (error_code) add(sql`error is not null and error ->> 'code' = ${error_code}`);
  if (agent_id) add(sql`agent_id = ${agent_id}`);
  if (model) add(sql`model = ${fullName(model)}`);
  if (status || type !== undefined) lists.push(kindList(owner, { status, type }));
  return lists;
}

function columnList(owner: Owner, holds: RawBuilder<unknown>): TaskList {
  return (within, limit) => sql`
    select id from tasks where ${owned(owner)} and ${holds} and ${within(sql`id`)} order by id desc limit ${limit}`;
}

/** Statuses and types: the lists of each pair are merged. */
function kindList(owner: Owner, { status, type }: TaskFilter): TaskList {
  const statuses = [...new Set(status ?? STATUSES)];
  const types = [...new Set(type)];
  return merged({
    of:
      type === undefined
        ? kindsOf(owner, statuses)
        : sql`select status, type from unnest(${statuses}::varchar[]) as status, unnest(${types}::varchar[]) as type`,
    entries: (within) => sql`
      select id from tasks where ${owned(owner)} and status = one.status and type = one.type and ${within(sql`id`)}`,
    most: statuses.length * (types.length || USUAL_TYPES),
  });
}

/** How many types there may be of each status. */
const USUAL_TYPES = 4;

/** Each type that an owner has tasks of in each of the statuses, as a query for (status, type): one step in the index for each. */
function kindsOf(owner: Owner, statuses: Status[]) {
  const mine = owned(owner);
  return sql`select * from (
    with recursive kind(status, type) as (
      select status, (select type from tasks where ${mine} and status = s.status order by type limit 1)
      from unnest(${statuses}::varchar[]) as s(status)
      union all
      select status, (select type from tasks where ${mine} and status = kind.status and type > kind.type order by type limit 1)
      from kind where type is not null
    ) select status, type from kind where type is not null) as found`;
}

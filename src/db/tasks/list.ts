import { type RawBuilder, sql } from 'kysely';
import type { TaskFilter } from '../../tasks/task-filter.ts';
import type { Db } from '../connect.ts';
import { pageOf } from '../page.ts';
import { STATUSES, type Status } from '../schema.ts';
import { conditionOf, fullName, idAfter, idAfterId, idBefore, type Owner, owned } from './filter.ts';
import type { TaskRow } from './read.ts';
import { type TaskList, wordLists } from './words.ts';

/** So many entries are looked at in the first round; each further one looks at so many times more. */
const FIRST_ROUND = 300;
const GROWTH = 8;
/** How often lists are asked in a row for the newest entry that they could have in common. */
const JUMPS = 4;

interface Bounds {
  after: string;
  before: string;
}

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
 * for this user, nor where in the years its tasks lie. Of several filters the shortest list is walked and the others are
 * asked of its tasks, in rounds, each over more entries than the one before: the cost is that of the page where tasks
 * that fit are dense, and never more than that of the shortest list.
 */
export async function findTasks<T extends { id: string }>(
  db: Db,
  owner: Owner,
  filter: TaskFilter,
  { limit: wanted, cursor, columns, also }: Wanted,
): Promise<T[]> {
  const lists = await listsOf(db, owner, filter);
  const within = { after: idAfter(filter), before: idBefore(filter, cursor) };
  const found: T[] = [];
  // All entries of a list that stands alone fit, so no more of them are needed than are wanted.
  const exact = lists.length === 1 && !filter.created_after && !filter.created_before && !also;

  let entries = exact ? wanted : Math.max(FIRST_ROUND, wanted);
  let landed = false;
  for (let list = await nextList(db, lists, within, entries); list; ) {
    // As a lateral query, so that tasks are looked up one by one however many the planner expects.
    const { rows } = await sql<T>`
      select t.* from (${list(within, entries)}) as entry(id) cross join lateral (
        select ${columns} from tasks where tasks.id = entry.id and ${conditionOf(owner, filter)} and ${also ?? sql`true`} offset 0
      ) as t order by entry.id desc limit ${wanted - found.length}`.execute(db);
    found.push(...rows);
    if (found.length === wanted || exact) break;
    const end = await sql<{ id: string }>`
      select id from (${list(within, entries)}) as entry(id) order by id desc offset ${entries - 1} limit 1`.execute(
      db,
    );
    if (!end.rows[0]) break;
    within.before = end.rows[0].id;
    if (rows.length > 0) {
      // The list is one in which tasks that fit are found; so many more entries will hold the rest, if it goes on like this.
      const rest = Math.ceil((1.5 * (wanted - found.length) * entries) / rows.length);
      entries = Math.min(entries * GROWTH, Math.max(wanted, rest));
      continue;
    }
    const jump = lists.length > 1 ? await jumpOn(db, lists, within) : 'none';
    if (jump === 'over') break;
    // Where the lists first meet, tasks that fit may be as dense as anywhere.
    if (jump === 'none' || landed) entries *= GROWTH;
    landed ||= jump === 'far';
    list = await nextList(db, lists, within, entries);
  }
  return found;
}

/** Moves `within` on to where all lists can have something in common; `over` where they have nothing any more. */
async function jumpOn(db: Db, lists: TaskList[], within: Bounds): Promise<'none' | 'far' | 'over'> {
  const began = within.before;
  for (let jump = 0; jump < JUMPS; jump++) {
    const heads = await ofEach<string | null>(
      db,
      lists,
      (list) => sql`(select id from (${list(within, 1)}) as entry(id))`,
    );
    const oldest = heads.includes(null) ? undefined : (heads as string[]).sort()[0];
    if (oldest === undefined) return 'over';
    const before = idAfterId(oldest);
    if (before === within.before) break;
    within.before = before;
  }
  return within.before === began ? 'none' : 'far';
}

/** The list with the fewest entries from here on; those with more than `upTo` count as equal, and the first of them is taken. */
async function nextList(db: Db, lists: TaskList[], within: Bounds, upTo: number): Promise<TaskList | undefined> {
  if (lists.length < 2) return lists[0];
  const sizes = await ofEach<number>(
    db,
    lists,
    (list) => sql`(select count(*)::int from (${list(within, upTo)}) as entry)`,
  );
  return lists[sizes.indexOf(Math.min(...sizes))];
}

async function ofEach<T>(db: Db, lists: TaskList[], ask: (list: TaskList) => RawBuilder<unknown>): Promise<T[]> {
  const { rows } = await sql<{ all: T[] }>`select array[${sql.join(lists.map(ask))}] as all`.execute(db);
  return rows[0]?.all ?? [];
}

/** One list for each filter; none where nothing can fit. */
async function listsOf(db: Db, owner: Owner, filter: TaskFilter): Promise<TaskList[]> {
  const { batch_id, parent_id, schedule_id, error_code, agent_id, model, status, type } = filter;
  const lists: TaskList[] = [];
  const add = (holds: RawBuilder<unknown>) => lists.push(columnList(owner, holds));
  if (batch_id) add(sql`batch_id = ${batch_id}`);
  if (parent_id) add(sql`parent_id = ${parent_id}`);
  if (schedule_id) add(sql`schedule_id = ${schedule_id}`);
  if (error_code) add(sql`error is not null and error ->> 'code' = ${error_code}`);
  if (agent_id) add(sql`agent_id = ${agent_id}`);
  if (model) add(sql`model = ${fullName(model)}`);
  const words = await wordLists(db, owner, filter);
  if (!words) return [];
  lists.push(...words);
  if (status || type !== undefined) lists.push(kindList(owner, filter));
  return lists.length > 0 ? lists : [columnList(owner, sql`true`)];
}

function columnList(owner: Owner, holds: RawBuilder<unknown>): TaskList {
  return ({ after, before }, limit) => sql`
    select id from tasks where ${owned(owner)} and ${holds} and id > ${after} and id < ${before}
    order by id desc limit ${limit}`;
}

/** Statuses and types: the lists of each pair are merged. */
function kindList(owner: Owner, { status, type }: TaskFilter): TaskList {
  const mine = owned(owner);
  const statuses = [...new Set(status ?? STATUSES)];
  const kinds =
    type === undefined
      ? kindsOf(owner, statuses)
      : sql`select status, type from unnest(${statuses}::varchar[]) as status, unnest(${[...new Set(type)]}::varchar[]) as type`;
  return ({ after, before }, limit) => sql`
    select entry.id from (${kinds}) as kind(status, type) cross join lateral (
      select id from tasks where ${mine} and status = kind.status and type = kind.type
        and id > ${after} and id < ${before}
      order by id desc limit ${limit}
    ) as entry order by entry.id desc limit ${limit}`;
}

/** Each type that an owner has tasks of in each of the statuses, as a query for (status, type): one step in the index for each. */
function kindsOf(owner: Owner, statuses: Status[]) {
  const mine = owned(owner);
  return sql`select * from (
    with recursive kind(status, type) as (
      select status, (select min(type) from tasks where ${mine} and status = s.status)
      from unnest(${statuses}::varchar[]) as s(status)
      union all
      select status, (select min(type) from tasks where ${mine} and status = kind.status and type > kind.type)
      from kind where type is not null
    ) select status, type from kind where type is not null) as found`;
}

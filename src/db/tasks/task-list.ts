import { type RawBuilder, sql } from 'kysely';

/** A condition that bounds a column with ids. */
export type Within = (id: RawBuilder<unknown>) => RawBuilder<unknown>;

type Limit = number | RawBuilder<unknown>;

/** The newest ids of tasks for which a filter holds, within bounds, newest first, as a query with one column `id`. */
export type TaskList = (within: Within, limit: Limit) => RawBuilder<unknown>;

/** One list or several, as a query with a row for each: the array of its newest ids, `ids`. */
export interface TaskLists {
  count: number;
  read: (within: Within, limit: Limit) => RawBuilder<unknown>;
}

/** Greater than `after` and up to an id. */
export interface Bounds {
  after: string;
  upTo: string;
}

/** Bounds as a condition; always both, because of one alone Postgres expects a third of the table. */
export const between =
  (after: string, upTo: RawBuilder<unknown>): Within =>
  (id) =>
    sql`${id} > ${after}::uuid and ${id} <= ${upTo}`;

/** The newest ids of a list that stands alone, as a query; in order, so that who needs few of them looks at few. */
export const newest = (list: TaskLists, { after, upTo }: Bounds, limit: number) => sql`
  select id from (
    select unnest(ids) as id from (${list.read(between(after, sql`${upTo}::uuid`), limit)}) as list(ids)
  ) as entry order by id desc`;

/** A list by itself. */
export const alone = (list: TaskList): TaskLists => ({
  count: 1,
  read: (within, limit) => sql`select array(${list(within, limit)}) as ids`,
});

/** Lists to be read as one. */
export interface Merge {
  /** A query with a row for each of them. */
  of: RawBuilder<unknown>;
  /** The entries of the one in the row `one`, with a column `id`. */
  entries: (within: Within) => RawBuilder<unknown>;
  /** How many there are at most, about. */
  most: number;
  /** How many there are, as Postgres knows it. */
  count?: RawBuilder<unknown>;
}

const NO_ID = '00000000-0000-0000-0000-000000000000';
/** So many lists are read as far as one alone. */
const FEW = 16;
/** Of more, at first only so many times as much as would do if all had their share. */
const MORE_THAN_SHARE = 2;

/**
 * Several lists as one. Of many, little of each is read at first: the oldest of so many as are wanted tells back to where
 * each has to be read.
 */
export function merged({ of, entries, most, count = sql`${most}::int` }: Merge): TaskList {
  const ofEach = (within: Within, limit: Limit) => sql`
    select distinct entry.id from one cross join lateral (
      ${entries(within)} order by id desc limit ${limit}
    ) as entry order by entry.id desc`;
  return (within, limit) => {
    if (most <= FEW) return sql`with one as (${of}) ${ofEach(within, limit)} limit ${limit}`;
    const share = sql`ceil(${limit} * ${MORE_THAN_SHARE}::float8 / ${count})::int`;
    const since: Within = (id) => sql`${within(id)} and ${id} >= coalesce((select id from enough), ${NO_ID})`;
    return sql`
      with one as materialized (${of}),
      enough as materialized (${ofEach(within, share)} offset ${limit} - 1 limit 1)
      ${ofEach(since, limit)} limit ${limit}`;
  };
}

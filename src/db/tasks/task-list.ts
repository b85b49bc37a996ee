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

/**
 * Some of the newest ids of lists, as a query with one row: `ids`, newest first, and `rest`, the id from which on there may be
 * more, which is not one of them, or null.
 */
export type Newest = RawBuilder<unknown>;

/** So many of the newest ids of a list that stands alone. */
export const newest = (list: TaskLists, { after, upTo }: Bounds, most: number): Newest => sql`
  select ids[:${most}::int] as ids, ids[${most}::int + 1] as rest
  from (${list.read(between(after, sql`${upTo}::uuid`), most + 1)}) as list(ids)`;

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
 * Several lists as one. Of many, little of each is read at first. The oldest of so many as are wanted then tells back to
 * where they have to be read, and most of them were by then.
 */
export function merged({ of, entries, most, count = sql`${most}::int` }: Merge): TaskList {
  const ofOne = (within: Within, limit: Limit) => sql`${entries(within)} order by id desc limit ${limit}`;
  return (within, limit) => {
    if (most <= FEW)
      return sql`
        select distinct entry.id from (${of}) as one cross join lateral (${ofOne(within, limit)}) as entry
        order by entry.id desc limit ${limit}`;
    const share = sql`ceil(${limit} * ${MORE_THAN_SHARE}::float8 / ${count})::int`;
    const enough = sql`coalesce((select id from enough), ${NO_ID})`;
    const further: Within = (id) => sql`${within(id)} and ${id} < one.ids[${share}] and ${id} >= ${enough}`;
    return sql`
      with begun as materialized (select one.*, array(${ofOne(within, share)}) as ids from (${of}) as one),
      enough as materialized (
        select distinct entry.id from begun cross join unnest(begun.ids) as entry(id)
        order by entry.id desc offset ${limit} - 1 limit 1
      )
      select id from (
        select entry.id from begun cross join unnest(begun.ids) as entry(id)
        union
        select entry.id from begun as one cross join lateral (${ofOne(further, limit)}) as entry
        where one.ids[${share}] >= ${enough}
      ) as entry order by id desc limit ${limit}`;
  };
}

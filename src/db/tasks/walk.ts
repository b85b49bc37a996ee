import { type RawBuilder, sql } from 'kysely';
import { type Bounds, between, type Newest, type TaskLists } from './task-list.ts';

/** So many entries of each list are read in the first round; each further one reads so many times more, up to a number. */
const FIRST_ROUND = 64;
const GROWTH = 4;
const MOST = 16_384;

interface Walk {
  /** So many tasks are enough. */
  limit: number;
  /** What has to hold for a row of `tasks`. */
  holds: RawBuilder<unknown>;
  /** So many rounds may read more than one entry of each list. */
  rounds?: number;
}

/**
 * The ids of the newest tasks that are in all of some lists.
 *
 * It walks the lists from their newest entries on, in rounds, until there are enough tasks or a list is at its end. A round
 * reads so many entries of each list. One of them reaches back furthest: of its entries those that may be in the others, which
 * is known as far back as these were read, are looked up among the tasks; except the last, with which the next round begins.
 * So entries are looked up of the list with the fewest, wherever that is, and of lists that are alike only what is in all.
 * Where there are several, every second round reads one entry of each, which skips what lies before all of them go on.
 */
export function walk(lists: TaskLists[], { after, upTo }: Bounds, { limit, holds, rounds }: Walk): Newest {
  const within = between(after, sql`walk.up_to`);
  const read = sql.join(
    lists.map((list) => list.read(within, sql`round.size`)),
    sql` union all `,
  );
  const count = lists.reduce((sum, list) => sum + list.count, 0);
  const first = Math.max(FIRST_ROUND, limit + 1);
  const grown = (n: RawBuilder<unknown>) => sql`least(${first} * ${GROWTH} ^ ${n}, ${Math.max(first, MOST)})::int`;
  const size =
    count === 1
      ? grown(sql`walk.round`)
      : sql`case when walk.round % 2 = 1 then 1 else ${grown(sql`(walk.round / 2)`)} end`;
  const most = rounds === undefined ? sql`true` : sql`walk.round < ${rounds * (count === 1 ? 1 : 2)}::int`;
  return sql`
    with recursive walk(round, up_to, found) as (
      select 0, ${upTo}::uuid, array[]::uuid[]
      union all
      select walk.round + 1, next.up_to, walk.found || next.found
      from walk cross join lateral (select ${size} as size) as round cross join lateral (
        -- With an offset, so that an array is not made once for each time that it is named.
        with list as materialized (
          select row_number() over () as n, ids, ids[round.size] as last from (${read} offset 0) as given
        ), furthest as materialized (select * from list order by last nulls first limit 1)
        select furthest.last as up_to, array(
          select task.id from (
            select entry.id from list cross join unnest(list.ids) as entry(id)
            where entry.id > furthest.last or furthest.last is null
            group by entry.id having count(*) = ${count}::int
              or bool_or(list.n = furthest.n) and entry.id < (select last from list where last is not null order by last desc limit 1)
            order by entry.id desc
          ) as entry cross join lateral (
            select tasks.id from tasks where tasks.id = entry.id and ${holds} offset 0
          ) as task order by entry.id desc limit ${limit}::int - cardinality(walk.found)
        ) as found from furthest
      ) as next
      where walk.up_to is not null and cardinality(walk.found) < ${limit}::int and ${most}
    )
    select found as ids, up_to as rest from walk order by round desc limit 1`;
}

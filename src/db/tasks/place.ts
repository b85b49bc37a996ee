import { sql } from 'kysely';
import type { Db } from '../connect.ts';

/** In a class, everything that stood in line before this time is meant; `null` is everything before the task itself. */
export interface Until {
  priority: number;
  since: Date | null;
}

/** Every so many tasks of a class one is marked. */
const MARKED = 1_000;

/** The task, and up to where each class is before it; entries of `until` without a time stand for the task itself. */
const bounds = (id: string, until: Until[]) => sql`
  me as (select id, lane, coalesce(queued_at, ready_at) as since from tasks where id = ${id}),
  bound as (
    select me.lane, u.priority, coalesce(u.since, me.since) as since,
      case when u.since is null then me.id else '00000000-0000-0000-0000-000000000000' end as id
    from me, json_to_recordset(${JSON.stringify(until)}::json) as u(priority smallint, since timestamptz)
  )`;

/** How many tasks of a lane wait before one of them. */
export interface Before {
  /** Counted, not beyond a number. */
  counted: number | null;
  /** Estimated from the marks; `null` where there are none before it. */
  about: number | null;
}

/**
 * How many tasks of the lane of a task wait before it and want to start now; counted up to `upTo`, and not at all where the
 * marks say that they are `far` or more. In a transaction of its own: where Postgres takes a class for small, it would read
 * and sort all of it in place of its first entries.
 */
export async function findBefore(
  db: Db,
  id: string,
  until: Until[],
  { upTo, far }: { upTo: number; far: number },
): Promise<Before> {
  return db.transaction().execute(async (trx) => {
    await sql`select set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)`.execute(trx);
    // What lies between two marks is half of it on average.
    const { rows } = await sql<Before>`
      with ${bounds(id, until)},
      marked as materialized (
        select sum(mark.place + ${MARKED / 2}::int)::int as about from bound, lateral (
          select place from line_marks m where m.lane = bound.lane and m.priority = bound.priority
            and (m.since, m.task_id) < (bound.since, bound.id)
          order by place desc limit 1
        ) as mark
      )
      select about, case when about is null or about < ${far}::int then (
        select count(*)::int from (
          select from bound, lateral (
            select from tasks t where t.lane = bound.lane and t.priority = bound.priority
              and t.status in ('scheduled', 'pending') and (coalesce(t.queued_at, t.ready_at), t.id) < (bound.since, bound.id)
              and t.ready_at <= now() and (t.held_by is null or t.called)
            order by coalesce(t.queued_at, t.ready_at), t.id limit ${upTo}::int
          ) as one limit ${upTo}::int
        ) as one
      ) end as counted from marked`.execute(trx);
    return rows[0] as Before;
  });
}

/** Marks the lines anew. The cost is that of a look at each waiting task, so it is for one process, now and then. */
export async function markLines(db: Db): Promise<void> {
  const { rows } = await sql`
    select from tasks where status in ('scheduled', 'pending') offset ${MARKED - 1} limit 1`.execute(db);
  await db.transaction().execute(async (trx) => {
    await sql`delete from line_marks`.execute(trx);
    if (rows.length === 0) return;
    await sql`
      insert into line_marks (lane, priority, place, since, task_id)
      select lane, priority, place, since, id from (
        select lane, priority, coalesce(queued_at, ready_at) as since, id,
          row_number() over (partition by lane, priority order by coalesce(queued_at, ready_at), id) as place
        from tasks where status in ('scheduled', 'pending')
      ) as line where place % ${MARKED}::int = 0`.execute(trx);
  });
}

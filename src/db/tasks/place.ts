import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { inBacklog, inFront } from './backlog.ts';

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
          select place from line_marks m where m.lane = bound.lane and m.priority = bound.priority and m.user_id is null
            and (m.since, m.task_id) < (bound.since, bound.id)
          order by place desc limit 1
        ) as mark
      )
      select about, case when about is null or about < ${far}::int then (
        select count(*)::int from (
          select from bound, lateral (
            select from tasks t where t.lane = bound.lane and t.priority = bound.priority
              and ${inFront} and (coalesce(t.queued_at, t.ready_at), t.id) < (bound.since, bound.id) and t.ready_at <= now()
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
    // Each in the order of its index, so that Postgres need not sort them.
    const since = sql`coalesce(t.queued_at, t.ready_at)`;
    await sql`
      insert into line_marks (lane, priority, user_id, place, since, task_id)
      select lane, priority, user_id, place, since, id from (
        select t.lane, t.priority, null::uuid as user_id, ${since} as since, t.id,
          row_number() over (partition by t.lane, t.priority order by ${since}, t.id) as place
        from tasks t where ${inFront}
        union all
        select t.lane, t.priority, t.user_id, ${since}, t.id,
          row_number() over (partition by t.lane, t.priority, t.user_id order by ${since}, t.id)
        from tasks t where ${inBacklog}
      ) as line where place % ${MARKED}::int = 0`.execute(trx);
  });
}

/** The task, its place among those of its user in the backlog of its class, and the other users there; none is counted beyond `upTo`. */
const ownLine = (id: string, upTo: number) => sql`
  me as (
    select t.id, t.lane, t.priority, t.user_id, coalesce(t.queued_at, t.ready_at) as since from tasks t where t.id = ${id}
  ), own as (
    select count(*)::int as n from (
      select from me, lateral (
        select from tasks t where ${inBacklog} and t.lane = me.lane and t.priority = me.priority and t.user_id = me.user_id
          and (coalesce(t.queued_at, t.ready_at), t.id) < (me.since, me.id)
        order by coalesce(t.queued_at, t.ready_at), t.id limit ${upTo}::int) as one
    ) as counted
  ), users as (
    select next.user_id from me, lateral (
      with recursive each as (
        (select t.user_id from tasks t where ${inBacklog} and t.lane = me.lane and t.priority = me.priority
          order by t.user_id limit 1)
        union all
        select more.user_id from each, lateral (
          select t.user_id from tasks t where ${inBacklog} and t.lane = me.lane and t.priority = me.priority
            and t.user_id > each.user_id order by t.user_id limit 1) as more
      )
      select user_id from each limit ${upTo}::int
    ) as next where next.user_id <> me.user_id
  )`;

/**
 * How many tasks start before one in the backlog of its lane, if users take turns: what is in front, what is more urgent, those of its
 * user that stand before it, and as many of each other user of its class. Not counted beyond `upTo`.
 */
export async function countBeforeInBacklog(db: Db, id: string, upTo: number): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    with recursive ${ownLine(id, upTo)}
    select count(*)::int as n from (
      (select from generate_series(1, (select n from own)))
      union all
      (select from me, lateral (
        select from tasks t where ${inFront} and t.lane = me.lane and t.ready_at <= now() limit ${upTo}::int) as one)
      union all
      (select from me, lateral (
        select from tasks t where ${inBacklog} and t.lane = me.lane and t.priority < me.priority limit ${upTo}::int) as one)
      union all
      (select from me, users, lateral (
        select from tasks t where ${inBacklog} and t.lane = me.lane and t.priority = me.priority and t.user_id = users.user_id
        order by coalesce(t.queued_at, t.ready_at), t.id limit (select n + 1 from own)) as one)
      limit ${upTo}::int
    ) as counted`.execute(db);
  return rows[0]?.n ?? 0;
}

/** The same, estimated from the marks; `undefined` where there are none of its user before it. */
export async function estimateBeforeInBacklog(db: Db, id: string): Promise<number | undefined> {
  const { rows } = await sql<{ n: number | null }>`
    with me as (
      select t.id, t.lane, t.priority, t.user_id, coalesce(t.queued_at, t.ready_at) as since from tasks t where t.id = ${id}
    ), own as (
      select max(m.place) + ${MARKED / 2}::int as n from me join line_marks m on m.lane = me.lane and m.priority = me.priority
        and m.user_id = me.user_id and (m.since, m.task_id) < (me.since, me.id)
    ), others as (
      select least(max(m.place), case when m.priority = me.priority then (select n from own) end) as n
      from me join line_marks m on m.lane = me.lane and m.priority <= me.priority and m.user_id <> me.user_id
      group by me.priority, m.priority, m.user_id
    )
    select (own.n + coalesce((select sum(n) from others), 0))::int as n from own`.execute(db);
  return rows[0]?.n ?? undefined;
}

import { sql } from 'kysely';
import type { Lane } from '../../tasks/lanes.ts';
import type { Db } from '../connect.ts';
import { ratesWithin, WORKER_GONE_SECONDS } from '../workers.ts';
import type { Waiting } from './waiting.ts';

// Of what waits in a lane, the first have a job and are its front. The others are its backlog: they are held back by the lane,
// and whoever lets one come to the front calls it. What is held back and not due comes to the backlog when it is.

/** What holds a task back that is in the backlog of its lane. */
export const BY_LANE = 'lane';
/** On this channel processes tell each other of backlogs. */
export const BACKLOG_CHANNEL = 'sutazai_backlog';

/** Whether a task (`t`) is in the backlog of its lane. */
export const inBacklog = sql`(t.status = 'pending' and t.held_by = 'lane' and not t.called)`;
/** Whether a task (`t`) has a job or is to have one. */
export const inFront = sql`(t.status in ('scheduled', 'pending') and (t.held_by is null or t.called))`;
/** Since when a task (`t`) stands in line. */
const since = sql`coalesce(t.queued_at, t.ready_at)`;

/** The first in the backlog of a lane (`l`). In the order of the index, or Postgres might look for it through the whole table. */
const anyInBacklog = sql`from tasks t where ${inBacklog} and t.lane = l.lane order by t.priority, t.user_id limit 1`;

/** How a lane stands. */
export interface LaneState {
  lane: Lane;
  backlog: boolean;
  /** How many wait in front, and how many are to come there later because their time has not come; neither is counted beyond `upTo`. */
  ready: number;
  later: number;
}

/** Reads how lanes stand. */
export async function readLaneStates(db: Db, lanes: readonly Lane[], upTo: number): Promise<LaneState[]> {
  const { rows } = await sql<LaneState>`
    select l.lane, coalesce(b.backlog, false) as backlog, f.ready, f.later
    from unnest(${lanes}::text[]) as l(lane)
    left join lateral (select true as backlog ${anyInBacklog}) as b on true
    cross join lateral (
      select count(*) filter (where ready_at <= now())::int as ready, count(*) filter (where ready_at > now())::int as later
      from (
        select t.ready_at from tasks t where ${inFront} and t.lane = l.lane order by t.priority, ${since}, t.id limit ${upTo}::int
      ) as first
    ) as f`.execute(db);
  return rows;
}

/** Reads how quickly lanes work, as the workers say; a mean is of the last hour. */
export async function readPaces(
  db: Db,
  lanes: readonly Lane[],
): Promise<Array<{ lane: Lane; slots: number; mean_ms: number | null }>> {
  const { rows } = await sql<{ lane: Lane; slots: number; mean_ms: number | null }>`
    select l.lane, (
        select coalesce(sum((w.lanes -> l.lane ->> 'concurrency')::int), 0) from workers w
        where w.seen_at > now() - ${WORKER_GONE_SECONDS}::int * interval '1 second')::int as slots, r.mean_ms
    from unnest(${lanes}::text[]) as l(lane) left join (${ratesWithin(60)}) as r on r.lane = l.lane`.execute(db);
  return rows;
}

/** Of those in front of a lane that has a backlog: how many of one user and class have the turn of the same step of time. */
export interface InFront {
  lane: Lane;
  priority: number | null;
  user_id: string;
  step: number;
  count: number;
}

/**
 * Reads who is in front of the lanes that have a backlog; of a lane where nobody is, one row without a priority.
 * @param steps how long a step is, in milliseconds, and from when they are counted; 0 is no steps
 */
export async function readFronts(
  db: Db,
  lanes: readonly Lane[],
  steps: { fromMs: number; ms: number },
  upTo: number,
): Promise<InFront[]> {
  const step =
    steps.ms === 0
      ? sql`0`
      : sql`floor((extract(epoch from ${since}) * 1000 - ${steps.fromMs}::float8) / ${steps.ms}::float8)::int
          - coalesce(t.queued_at < t.ready_at, false)::int`;
  const { rows } = await sql<InFront>`
    select l.lane, f.priority, f.user_id, f.step, f.count
    from unnest(${lanes}::text[]) as l(lane)
    cross join lateral (select ${anyInBacklog}) as one
    left join lateral (
      select priority, user_id, step, count(*)::int as count from (
        select t.priority, t.user_id, ${step} as step from tasks t
        where ${inFront} and t.lane = l.lane and t.ready_at <= now() order by t.priority, ${since}, t.id limit ${upTo}::int
      ) as first group by priority, user_id, step
    ) as f on true`.execute(db);
  return rows;
}

/** From which user on the lines of a class are to be read. */
export interface LineCursor {
  lane: Lane;
  priority: number;
  after: string;
}

/**
 * The first of a user's tasks in the backlog of a class; nothing of it where none is due, or the user may run no more now and has one as
 * urgent that waits for that.
 */
export interface BacklogLine {
  lane: Lane;
  priority: number;
  user_id: string;
  since: number | null;
  /** What the clock of the database says, as `since`. */
  now: number;
  type: string;
  /** What a task of this type cost the user lately; `null` where nobody knows. */
  cost: number | null;
  /** Not counted beyond a few: see {@link COUNTED}. */
  tasks: number;
}

/** So many of each line are counted. */
export const COUNTED = 8;
const FIRST_USER = '00000000-0000-0000-0000-000000000000';

/** Reads the lines of the backlogs of lanes, by class and user: at most `limit` of each class. */
export async function readLines(
  db: Db,
  lanes: readonly Lane[],
  cursors: readonly LineCursor[],
  limit: number,
): Promise<BacklogLine[]> {
  const { rows } = await sql<BacklogLine>`
    with recursive classes as (
      select l.lane, (
        select t.priority ${anyInBacklog}) as priority
      from unnest(${lanes}::text[]) as l(lane)
      union all
      select c.lane, (
        select t.priority from tasks t where ${inBacklog} and t.lane = c.lane and t.priority > c.priority
        order by t.priority, t.user_id limit 1)
      from classes c where c.priority is not null
    )
    select c.lane, c.priority, u.user_id, h.since, (extract(epoch from now()) * 1000)::float8 as now, h.type, k.cost, coalesce(h.tasks, 0) as tasks
    from classes c
    left join unnest(${cursors.map(({ lane }) => lane)}::text[], ${cursors.map(({ priority }) => priority)}::int[],
      ${cursors.map(({ after }) => after)}::uuid[]) as g(lane, priority, after) using (lane, priority)
    cross join lateral (
      with recursive users as (
        (select t.user_id from tasks t where ${inBacklog} and t.lane = c.lane and t.priority = c.priority
          and t.user_id > coalesce(g.after, ${FIRST_USER}::uuid) order by t.user_id limit 1)
        union all
        select next.user_id from users, lateral (
          select t.user_id from tasks t where ${inBacklog} and t.lane = c.lane and t.priority = c.priority
            and t.user_id > users.user_id order by t.user_id limit 1) as next
      )
      select user_id from users limit ${limit}::int
    ) as u
    left join lateral (
      select (min(extract(epoch from since)) * 1000)::float8 as since, (array_agg(type))[1] as type, count(*)::int as tasks from (
        select ${since} as since, t.type from tasks t where ${inBacklog} and t.lane = c.lane and t.priority = c.priority
          and t.user_id = u.user_id and ${since} <= now() order by ${since}, t.id limit ${COUNTED}::int
      ) as first
      where not exists (select from tasks h where h.user_id = u.user_id and h.held_by = 'user' and h.lane = c.lane
        and h.priority <= c.priority and h.status in ('scheduled', 'pending') and not h.called)
    ) as h on true
    left join lateral (
      select cost / nullif(runs, 0) as cost from user_costs o where o.lane = c.lane and o.user_id = u.user_id and o.type = h.type
      limit 1 -- or Postgres might read all costs at each look
    ) as k on true
    where c.priority is not null`.execute(db);
  return rows;
}

/** Tasks of one line that come to the front. */
export interface Call {
  lane: Lane;
  user_id: string;
  priority: number;
  /** From when on each of them stands in line there, in milliseconds before now, and its place among all that are called. */
  ago_ms: number[];
  place: number[];
}

/** A task that was called, with what such a task cost its user lately. */
export interface Called extends Waiting {
  user_id: string;
  /** What was asked for as its place. */
  called_as: number;
  cost: number | null;
}

/**
 * Calls the first tasks of these lines: they are to have a job. What somebody else is changing is passed by. The generation stays, because
 * no task in the backlog has had a job in it.
 */
export async function callBacklog(db: Db, calls: readonly Call[]): Promise<Called[]> {
  const { rows } = await sql<Called>`
    with given as (
      select * from json_to_recordset(${JSON.stringify(calls)}::json) as g(lane text, user_id uuid, priority smallint,
        ago_ms float8[], place int[])
    ), chosen as (
      select one.id, g.ago_ms[one.n] as ago_ms, g.place[one.n] as place from given g, lateral (
        select id, (row_number() over (order by since, id))::int as n from (
          select t.id, ${since} as since from tasks t where ${inBacklog} and t.lane = g.lane and t.priority = g.priority
            and t.user_id = g.user_id and ${since} <= now()
          order by ${since}, t.id limit cardinality(g.place) for update skip locked
        ) as first
      ) as one
    )
    update tasks t set called = true, ready_at = now(),
      queued_at = now() - c.ago_ms * interval '1 millisecond' + c.place * interval '1 microsecond'
    from chosen c where t.id = any(array(select id from chosen)) and t.id = c.id
    returning t.id, t.ready_at::text as place, t.type, t.lane, t.priority, t.generation, t.ready_at, t.queued_at,
      t.request_id, t.parent_id, t.user_id, c.place as called_as, (
        select o.cost / nullif(o.runs, 0) from user_costs o where o.lane = t.lane and o.user_id = t.user_id and o.type = t.type
      ) as cost`.execute(db);
  return rows.toSorted((a, b) => a.called_as - b.called_as);
}

/** Calls whoever waits in a backlog, the most urgent of each lane first, at most `limit`; where all that wait are to have a job. */
export async function callAll(db: Db, limit: number): Promise<Waiting[]> {
  const { rows } = await sql<Waiting>`
    update tasks t set called = true, queued_at = coalesce(t.queued_at, t.ready_at), ready_at = now()
    where t.id = any(array(
      select t.id from tasks t where ${inBacklog} order by t.lane, t.priority, t.user_id, ${since} limit ${limit}::int
      for update skip locked))
    returning t.id, t.ready_at::text as place, t.type, t.lane, t.priority, t.generation, t.ready_at, t.queued_at,
      t.request_id, t.parent_id`.execute(db);
  return rows;
}

/** That somebody waits in the backlogs of these lanes, and is to be looked after now; or that nobody does any more. */
export interface BacklogNews {
  some: boolean;
  lanes: Lane[];
}

/** Tells all processes. */
export async function sayBacklog(db: Db, { some, lanes }: BacklogNews): Promise<void> {
  await sql`select pg_notify(${BACKLOG_CHANNEL}, ${[some ? 'some' : 'none', ...lanes].join(' ')})`.execute(db);
}

/** What {@link sayBacklog} said. */
export function readBacklogNews(payload: string): BacklogNews {
  const [what, ...lanes] = payload.split(' ');
  return { some: what === 'some', lanes: lanes as Lane[] };
}

import { sql, type Transaction } from 'kysely';
import type { Lane } from '../../tasks/lanes.ts';
import type { Db } from '../connect.ts';
import type { Database } from '../schema.ts';
import { isHeld, runningLimit } from './claim.ts';
import { BY_USER, byKey, giveSeats, type Held, keyName, type Room, type Standing } from './seats.ts';
import type { Waiting } from './waiting.ts';

// A task that finds no place of its user or its key is held back: `held_by` says of what, and it has no job. When a place is
// free, the next in line is called: it gets a job in a new generation, and stays in its line until it starts.

/** A line of those that wait for the same places. */
export interface Line {
  user_id: string;
  held_by: string;
}

/** A key of a user, and a lane in which tasks of it wait. */
interface KeyInLane {
  user_id: string;
  key: string;
  lane: Lane;
}

interface Counted {
  user_id: string;
  key: string | null;
  lane: Lane;
  most: number;
  reserved: number;
  running: number;
}

export interface HoldOptions {
  /** The limit of running tasks of those who have none of their own; 0 is none. */
  everybody: number;
  /** How much waiting a class of priority is worth; see `turn.ts`. */
  agingMs: number;
}

/** Spells `sutu`; apart from the locks of others. */
const USER_LOCK = 0x73757475;
/** How long somebody else may hold what is needed here, and how long our side may say nothing between two statements. */
const LOCK_MS = 1_000;
const IDLE_MS = 2_000;
const LOCK_NOT_AVAILABLE = '55P03';
/** So many of each class of a line are looked at, and so no more are called at once; each that starts calls others. */
const HEADS = 20;

const waits = sql`t.status in ('scheduled', 'pending') and (t.expires_at is null or t.expires_at > now())`;

/** What {@link giveSeats} wants to know of a task (`t`). */
export const standingColumns = sql`t.id, t.user_id, t.lane, t.priority, t.concurrency_key, t.concurrency_limit,
  (extract(epoch from coalesce(t.queued_at, t.ready_at)) * 1000)::float8 as since`;

/** Does work in a transaction in which a worker that is cut off or stands still does not keep the others from theirs for long. */
export function briefTransaction<T>(db: Db, work: (trx: Transaction<Database>) => Promise<T>): Promise<T> {
  return db.transaction().execute(async (trx) => {
    await sql`select set_config('lock_timeout', ${String(LOCK_MS)}, true),
      set_config('idle_in_transaction_session_timeout', ${String(IDLE_MS)}, true)`.execute(trx);
    return work(trx);
  });
}

/** Whether somebody else held for too long what {@link briefTransaction} needed. */
export function isHeldElsewhere(error: unknown): boolean {
  return (error as { code?: unknown }).code === LOCK_NOT_AVAILABLE;
}

/**
 * Waits for whoever gives places of these users away: a count that was read before would not see what the other gave.
 * @param users a query for ids of users, as `id`
 */
export async function lockUsers(
  trx: Transaction<Database>,
  users: ReturnType<typeof sql<{ id: string }>>,
): Promise<string[]> {
  const { rows } = await sql<{ user_id: string }>`
    select user_id, pg_advisory_xact_lock(${USER_LOCK}::int, key) from (
      select distinct id as user_id, hashtext(id::text) as key from (${users}) g order by key, user_id
    ) u`.execute(trx);
  return rows.map(({ user_id }) => user_id);
}

/** How many run of these users and keys. @param without tasks that have no place reserved, because they are asked for now */
export async function readRoom(
  db: Db,
  users: string[],
  keys: KeyInLane[],
  without: string[],
  { everybody }: HoldOptions,
): Promise<Room> {
  const { rows } = await sql<Counted>`
    select u.id as user_id, null as key, null as lane, m.most, 0 as reserved, case when m.most = 0 then 0 else (
        select count(*) from tasks t where t.user_id = u.id and ${isHeld}) end::int as running
    from unnest(${users}::uuid[]) as u(id), lateral (select ${runningLimit('u.id', everybody)} as most) as m
    union all
    select k.user_id, k.key, k.lane, 0, (
        select count(*) from tasks t where t.user_id = k.user_id and t.concurrency_key = k.key and t.lane = k.lane
          and t.status in ('scheduled', 'pending') and t.held_by = ${BY_USER} and t.id <> all(${without}::uuid[]))::int, (
        select count(*) from tasks t where t.user_id = k.user_id and t.concurrency_key = k.key
          and t.status in ('running', 'cancelling'))::int
    from unnest(${keys.map(({ user_id }) => user_id)}::uuid[], ${keys.map(({ key }) => key)}::text[],
      ${keys.map(({ lane }) => lane)}::text[]) as k(user_id, key, lane)`.execute(db);
  const room: Room = { users: new Map(), keys: new Map() };
  for (const { user_id, key, lane, most, reserved, running } of rows) {
    if (key === null) {
      room.users.set(user_id, { most, running });
      continue;
    }
    const known = room.keys.get(keyName(user_id, key)) ?? { running, reserved: new Map() };
    room.keys.set(keyName(user_id, key), known);
    known.reserved.set(lane, reserved);
  }
  return room;
}

/** The first of each class of these lines, in every lane. */
export async function listHeads(db: Db, lines: Line[]): Promise<Held[]> {
  if (lines.length === 0) return [];
  const { rows } = await sql<Held>`
    select h.* from unnest(${lines.map(({ user_id }) => user_id)}::uuid[], ${lines.map(({ held_by }) => held_by)}::text[])
      as l(user_id, held_by),
    lateral (
      with recursive classes as (
        (select t.lane, t.priority from tasks t where t.user_id = l.user_id and t.held_by = l.held_by
          and t.status in ('scheduled', 'pending') order by t.lane, t.priority limit 1)
        union all
        select next.lane, next.priority from classes c, lateral (
          select t.lane, t.priority from tasks t where t.user_id = l.user_id and t.held_by = l.held_by
            and t.status in ('scheduled', 'pending') and (t.lane, t.priority) > (c.lane, c.priority)
          order by t.lane, t.priority limit 1) as next
      )
      select heads.* from classes c, lateral (
        select ${standingColumns}, t.held_by, t.called from tasks t
        where t.user_id = l.user_id and t.held_by = l.held_by and t.lane = c.lane and t.priority = c.priority and ${waits}
        order by coalesce(t.queued_at, t.ready_at), t.id limit ${HEADS}::int) as heads
    ) as h`.execute(db);
  return rows;
}

/** Gives those that are called a job in a new generation; what somebody else is changing is left for later. */
export async function callTasks(trx: Transaction<Database>, called: Standing[]): Promise<Waiting[]> {
  if (called.length === 0) return [];
  const { rows } = await sql<Waiting>`
    update tasks t set called = true, generation = t.generation + 1, queued_at = coalesce(t.queued_at, t.ready_at), ready_at = now()
    where t.id in (select id from tasks where id = any(${called.map(({ id }) => id)}::uuid[]) and held_by is not null
      and not called and status in ('scheduled', 'pending') order by id for update skip locked)
    returning t.id, t.ready_at::text as place, t.type, t.lane, t.priority, t.generation, t.ready_at, t.queued_at, t.request_id`.execute(
    trx,
  );
  return rows;
}

/**
 * Calls whoever stands next in these lines and finds a place; answers who wants a job now.
 * @throws where somebody else gives places of such a user away for too long: see {@link isHeldElsewhere}
 */
export async function callNext(db: Db, lines: Line[], options: HoldOptions): Promise<Waiting[]> {
  // Without a lock first: mostly there is nobody, or no place.
  const users = new Set((await whoIsNext(db, lines, options)).map(({ user_id }) => user_id));
  if (users.size === 0) return [];
  const theirs = lines.filter(({ user_id }) => users.has(user_id));
  return briefTransaction(db, async (trx) => {
    await lockUsers(trx, sql`select unnest(${[...users]}::uuid[]) as id`);
    return callTasks(trx, await whoIsNext(trx, theirs, options));
  });
}

async function whoIsNext(db: Db, lines: Line[], options: HoldOptions): Promise<Held[]> {
  const heads = await listHeads(db, lines);
  if (heads.every(({ called }) => called)) return [];
  const users = [...new Set(heads.map(({ user_id }) => user_id))];
  return giveSeats([], heads, await readRoom(db, users, keysOf(heads), [], options), options.agingMs).call;
}

/** The keys of these tasks, with their lanes. */
export function keysOf(tasks: Standing[]): KeyInLane[] {
  const keys = tasks.flatMap(({ user_id, concurrency_key: key, lane }) =>
    key === null ? [] : [{ user_id, key, lane }],
  );
  return [...new Map(keys.map((one) => [`${one.lane} ${keyName(one.user_id, one.key)}`, one])).values()];
}

/** The lines in which these tasks may stand. */
export function linesOf(tasks: Array<Pick<Standing, 'user_id' | 'concurrency_key'>>): Line[] {
  const lines = tasks.flatMap(({ user_id, concurrency_key: key }) => [
    { user_id, held_by: BY_USER },
    ...(key === null ? [] : [{ user_id, held_by: byKey(key) }]),
  ]);
  return [...new Map(lines.map((line) => [`${line.user_id} ${line.held_by}`, line])).values()];
}

/** The lines after this one in which somebody is held back, in a fixed order, and what each user has in the backlog of a lane among them. */
export async function listLines(db: Db, after: Line | undefined, limit: number): Promise<Line[]> {
  const waiting = sql`t.held_by is not null and t.status in ('scheduled', 'pending')`;
  const from = after ? sql`and (t.user_id, t.held_by) > (${after.user_id}::uuid, ${after.held_by}::text)` : sql``;
  const { rows } = await sql<Line>`
    with recursive found as (
      (select t.user_id, t.held_by from tasks t where ${waiting} ${from} order by t.user_id, t.held_by limit 1)
      union all
      select next.user_id, next.held_by from found f, lateral (
        select t.user_id, t.held_by from tasks t where ${waiting} and (t.user_id, t.held_by) > (f.user_id, f.held_by)
        order by t.user_id, t.held_by limit 1) as next
    )
    select user_id, held_by from found limit ${limit}::int`.execute(db);
  return rows;
}

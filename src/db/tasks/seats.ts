import type { Lane } from '../../tasks/lanes.ts';

/** A waiting task that wants a place among those of its user, of its key, or both. */
export interface Standing {
  id: string;
  user_id: string;
  lane: Lane;
  priority: number;
  /** Since when it stands in line, in milliseconds since 1970. */
  since: number;
  concurrency_key: string | null;
  concurrency_limit: number | null;
}

/** One that is held back; `called` when its job is on the way. */
export interface Held extends Standing {
  held_by: string;
  called: boolean;
}

/** How many run. */
export interface Room {
  /** By user: how many may; 0 is no limit. */
  users: Map<string, { most: number; running: number }>;
  /** By {@link keyName}: how many run, and for each lane how many have a place of the key and wait for one of their user. */
  keys: Map<string, { running: number; reserved: Map<Lane, number> }>;
}

/** What is to be done: `call` are held back and get a job, because there is a place for them. */
export interface Seats {
  start: Standing[];
  hold: Array<{ task: Standing; by: string }>;
  call: Held[];
}

/** What holds a task back whose user runs as many as may. */
export const BY_USER = 'user';
/** What holds a task back of whose key as many run as may. */
export const byKey = (key: string) => `key ${key}`;
/** How a key of a user is named here. */
export const keyName = (userId: string, key: string) => `${userId} ${key}`;

/** Whether `a` runs before `b`. @param agingMs how much waiting a class of priority is worth; with 0 the order is strict */
export function goesBefore(a: Standing, b: Standing, agingMs: number): boolean {
  const turn = ({ since, priority }: Standing) => since + (priority - 1) * agingMs;
  if (agingMs === 0 && a.priority !== b.priority) return a.priority < b.priority;
  return turn(a) < turn(b) || (turn(a) === turn(b) && a.id < b.id);
}

/**
 * Gives places away, in the order of the line: a task starts when fewer run than may, counting those before it in the same lane
 * that are held back by the same. Lanes do not wait for each other: one may be paused, or have no worker. Counts in `room` what starts.
 * @param asked those whose jobs are here
 * @param held the first of those that are held back, without those asked for
 */
export function giveSeats(asked: Standing[], held: Held[], room: Room, agingMs: number): Seats {
  const seats: Seats = { start: [], hold: [], call: [] };
  const before = (a: Standing, b: Standing) => (goesBefore(a, b, agingMs) ? -1 : 1);
  const lines = Map.groupBy(held, ({ user_id, held_by, lane }) => lineName(user_id, held_by, lane));
  const ahead = (task: Standing, by: string) =>
    (lines.get(lineName(task.user_id, by, task.lane)) ?? []).filter((one) => goesBefore(one, task, agingMs)).length;

  for (const task of [...asked].sort(before)) {
    const { user_id, lane, concurrency_key: key, concurrency_limit } = task;
    const user = room.users.get(user_id);
    const ofKey = key === null ? undefined : room.keys.get(keyName(user_id, key));
    if (key !== null && ofKey) {
      const by = byKey(key);
      if (ofKey.running + (ofKey.reserved.get(lane) ?? 0) + ahead(task, by) >= (concurrency_limit ?? 1)) {
        seats.hold.push({ task, by });
        continue;
      }
    }
    if (user && user.most > 0 && user.running + ahead(task, BY_USER) >= user.most) {
      seats.hold.push({ task, by: BY_USER });
      // It keeps its place of the key, or all others of the key would follow it into this line.
      ofKey?.reserved.set(lane, (ofKey.reserved.get(lane) ?? 0) + 1);
      continue;
    }
    if (user) user.running++;
    if (ofKey) ofKey.running++;
    seats.start.push(task);
  }

  for (const line of lines.values()) {
    line.sort(before);
    seats.call.push(...line.filter((task, index) => !task.called && taken(task, room) + index < mostOf(task, room)));
  }
  return seats;
}

const lineName = (userId: string, by: string, lane: Lane) => `${userId} ${lane} ${by}`;

/** How many places are taken of those that a task waits for. */
function taken({ user_id, held_by, lane, concurrency_key }: Held, { users, keys }: Room): number {
  if (held_by === BY_USER) return users.get(user_id)?.running ?? 0;
  const ofKey = keys.get(keyName(user_id, concurrency_key ?? ''));
  return ofKey ? ofKey.running + (ofKey.reserved.get(lane) ?? 0) : 0;
}

function mostOf({ user_id, held_by, concurrency_limit }: Held, { users }: Room): number {
  return held_by === BY_USER ? users.get(user_id)?.most || Number.POSITIVE_INFINITY : (concurrency_limit ?? 1);
}

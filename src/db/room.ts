import type { Db } from './connect.ts';
import { findUsed } from './limits.ts';
import { findLimitsOf } from './user-admin.ts';

/** What users may have, where nothing else was set for them; 0 is no limit. */
export interface RoomLimits {
  waiting_tasks: number;
  tokens_per_day: number;
}

/** For how many more tasks a user has room, and what bounds that, where anything does. */
export interface Room {
  room: number;
  /** How much is used, and how much may be. */
  bound?: { limit: keyof RoomLimits; used: number; most: number };
}

/** Looks for how many of the wanted tasks a user has room now. */
export async function findRoom(db: Db, userId: string, wanted: number, limits: RoomLimits): Promise<Room> {
  return (await findRooms(db, new Map([[userId, wanted]]), limits)).get(userId) ?? { room: 0 };
}

/** The same of many users in one look. @param wanted by user, how many tasks */
export async function findRooms(
  db: Db,
  wanted: ReadonlyMap<string, number>,
  limits: RoomLimits,
): Promise<Map<string, Room>> {
  const own = await findLimitsOf(db, [...wanted.keys()]);
  const asked = [...wanted].map(([userId, tasks]) => ({
    ...{ userId, tasks },
    upTo: own.get(userId)?.waiting_tasks ?? limits.waiting_tasks,
    tokens: own.get(userId)?.tokens_per_day ?? limits.tokens_per_day,
  }));
  const limited = asked.filter(({ upTo, tokens }) => upTo > 0 || tokens > 0);
  const used = limited.length > 0 ? await findUsed(db, limited) : [];
  const rooms = new Map<string, Room>(asked.map(({ userId, tasks }) => [userId, { room: tasks }]));
  for (const [n, { userId, tasks, upTo, tokens }] of limited.entries()) {
    const { waiting, tokens: spent } = used[n] ?? { waiting: 0, tokens: 0 };
    const free = Math.max(0, upTo - waiting);
    if (tokens > 0 && spent >= tokens)
      rooms.set(userId, { room: 0, bound: { limit: 'tokens_per_day', used: spent, most: tokens } });
    else if (upTo > 0 && free < tasks)
      rooms.set(userId, { room: free, bound: { limit: 'waiting_tasks', used: waiting, most: upTo } });
  }
  return rooms;
}

import type { Db } from '../db/connect.ts';
import { findUsed } from '../db/limits.ts';
import { findLimitsOf } from '../db/user-admin.ts';

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

/** Looks for how many of the wanted tasks of a workflow its user has room. */
export async function findRoom(db: Db, userId: string, wanted: number, limits: RoomLimits): Promise<Room> {
  const own = (await findLimitsOf(db, [userId])).get(userId);
  const waiting = own?.waiting_tasks ?? limits.waiting_tasks;
  const tokens = own?.tokens_per_day ?? limits.tokens_per_day;
  if (waiting === 0 && tokens === 0) return { room: wanted };
  const [used = { waiting: 0, tokens: 0 }] = await findUsed(db, [{ userId, upTo: waiting }]);
  if (tokens > 0 && used.tokens >= tokens)
    return { room: 0, bound: { limit: 'tokens_per_day', used: used.tokens, most: tokens } };
  const free = waiting > 0 ? Math.max(0, waiting - used.waiting) : wanted;
  if (free >= wanted) return { room: wanted };
  return { room: free, bound: { limit: 'waiting_tasks', used: used.waiting, most: waiting } };
}

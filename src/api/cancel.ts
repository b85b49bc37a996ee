import type { Db } from '../db/connect.ts';
import type { TaskRow } from '../db/tasks/read.ts';
import { type Cancelled, cancelTask } from '../db/tasks/steer.ts';
import { type AfterMove, tellMoved } from '../queues/after.ts';
import type { Principal } from './route.ts';
import { briefly } from './routes/task-access.ts';

interface Parts extends AfterMove {
  db: Db;
}

/** What the timeline of a task says of who cancelled it. */
export function cancelReason({ username }: Pick<Principal, 'username'>): string {
  return `by ${username}`.slice(0, 40);
}

/** Tells everybody whom it concerns that a task was cancelled, and its parts with it. */
export async function tellCancelled(cancelled: Cancelled, after: AfterMove): Promise<void> {
  await briefly(tellMoved([cancelled, ...cancelled.parts], after));
}

/** Cancels a task of one's own; nothing happens to one that has ended. */
export async function cancelOwnTask(
  parts: Parts,
  { id }: Pick<TaskRow, 'id'>,
  { userId, username }: Pick<Principal, 'userId' | 'username'>,
  reason = cancelReason({ username }),
): Promise<Cancelled | undefined> {
  const moved = await cancelTask(parts.db, { userId }, id, reason, username);
  if (moved) await tellCancelled(moved, parts);
  return moved;
}

import type { Db } from '../db/connect.ts';
import type { TaskRow } from '../db/tasks/read.ts';
import { type Cancelled, cancelTask } from '../db/tasks/steer.ts';
import type { Dispatcher } from '../queues/dispatcher.ts';
import type { Places } from '../queues/places.ts';
import { wakesOf } from '../queues/wakes.ts';
import { moveOnAfter } from '../workflows/after.ts';
import type { Workflows } from '../workflows/engine.ts';
import type { Principal } from './route.ts';
import { briefly } from './routes/task-access.ts';

interface Parts {
  db: Db;
  dispatcher: Dispatcher;
  places: Places;
  workflows: Pick<Workflows, 'advance'>;
}

/** What the timeline of a task says of who cancelled it. */
export function cancelReason({ username }: Pick<Principal, 'username'>): string {
  return `by ${username}`.slice(0, 40);
}

/** Tells the lanes that a task was cancelled, and its parts with it: their jobs are of no use any more, and their places are free. */
export async function tellCancelled(
  cancelled: Cancelled,
  { dispatcher, places, workflows }: Omit<Parts, 'db'>,
): Promise<void> {
  const moved = [cancelled, ...cancelled.parts];
  moveOnAfter(moved, workflows);
  await briefly(dispatcher.enqueue(moved.flatMap(wakesOf)));
  const ended = moved.filter(({ status }) => status === 'cancelled');
  await briefly(Promise.all(ended.map((one) => dispatcher.remove(one))));
  // A parked one had the place of its key.
  const free = moved.filter((one) => one.called || (one.status === 'cancelled' && one.concurrency_key !== null));
  if (free.length > 0) await briefly(places.freed(free));
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

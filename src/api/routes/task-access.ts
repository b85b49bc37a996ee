import type * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import { isId } from '../../db/ids.ts';
import { hasEnded } from '../../db/schema.ts';
import { findTask, type Owner, type TaskRow, watchTask } from '../../db/tasks/read.ts';
import { ProblemError } from '../../errors.ts';
import { within } from '../../lifecycle.ts';
import { presentTask } from '../../tasks/present.ts';
import type { Permission } from '../policy.ts';
import type { Principal } from '../route.ts';
import type { task as taskShape } from '../shapes/task.ts';
import type { Waiters, Watch } from '../waiters.ts';

/** The answer for a task that does not exist, and for one of somebody else: the two must look the same. */
export const noSuchTask = () => new ProblemError('not_found', 'There is no such task.');

/** Whose tasks this principal may touch. */
export function ownerFor(principal: Principal, permission: Permission): Owner {
  return principal.can(permission) ? 'any' : { userId: principal.userId };
}

/** A task as this principal may see it: what is in the tasks of others stays theirs without the permission `payloads:read`. */
export function showTask(
  task: TaskRow,
  { principal, base }: { principal: Principal; base: string },
): v.InferOutput<typeof taskShape> {
  const shown = presentTask(task, base);
  if (task.user_id === principal.userId || principal.can('payloads:read')) return shown;
  return { ...shown, input: null, output: null, metadata: null };
}

/** The task that the path names, as far as the principal may read it. @throws ProblemError `not_found` */
export async function readTask(db: Db, principal: Principal, id = ''): Promise<TaskRow> {
  const task = isId(id) ? await findTask(db, ownerFor(principal, 'tasks:read:any'), id) : undefined;
  if (!task) throw noSuchTask();
  return task;
}

/**
 * The task when it has ended, or as it is after `seconds`.
 * @param watch was opened before the task was read or stored
 */
export async function awaitEnd(
  db: Db,
  watch: Watch,
  task: TaskRow,
  seconds: number,
  signal: AbortSignal,
): Promise<TaskRow> {
  const until = Date.now() + seconds * 1000;
  let current = task;
  let more = true;
  while (more && !hasEnded(current.status) && Date.now() < until) {
    more = await watch.wait(until - Date.now(), signal);
    current = (await findTask(db, 'any', task.id)) ?? current;
  }
  return current;
}

/** The same for a task that was stored earlier, when nobody may have asked to be told of its end. */
export async function awaitStored(
  { db, waiters }: { db: Db; waiters: Waiters },
  task: TaskRow,
  seconds: number,
  signal: AbortSignal,
): Promise<TaskRow> {
  const watch = waiters.watch(task.id);
  try {
    await watchTask(db, task.id);
    const present = await findTask(db, 'any', task.id);
    return present ? await awaitEnd(db, watch, present, seconds, signal) : task;
  } finally {
    watch.close();
  }
}

/** Tells clients that poll when to ask again; nothing once the task has ended. */
export function retryAfter(task: TaskRow): Record<string, string> {
  return hasEnded(task.status) ? {} : { 'Retry-After': RETRY_AFTER_SECONDS };
}

const RETRY_AFTER_SECONDS = '1';

const QUEUE_PATIENCE_MS = 300;

/** Gives work on the queue the time that it needs, but does not hold an answer up for it: the rows say what is to be done. */
export async function briefly(work: Promise<unknown>): Promise<void> {
  await within(work, QUEUE_PATIENCE_MS, 'the queue').catch(() => {});
}

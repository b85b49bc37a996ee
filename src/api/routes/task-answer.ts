import type { Db } from '../../db/connect.ts';
import type { KeyUse } from '../../db/idempotency.ts';
import { hasEnded } from '../../db/schema.ts';
import type { TaskRow } from '../../db/tasks/read.ts';
import { presentTask } from '../../tasks/present.ts';
import type { AnswerHeader } from '../answer.ts';
import { replayed } from '../idempotency.ts';
import type { RouteAnswer } from '../route.ts';
import type { MadeTask, StoreTasks } from '../store.ts';
import type { Waiters, Watch } from '../waiters.ts';
import { awaitEnd, awaitStored, retryAfter } from './task-access.ts';

/** The headers of an answer that is a task that was stored. */
export const TASK_HEADERS: AnswerHeader[] = ['Location', 'Preference-Applied', 'Retry-After', 'Idempotency-Replayed'];

/** A task that was stored, as it was when the answer was no longer held. */
export interface Held {
  task: TaskRow;
  secret: string | undefined;
  /** Whether an earlier request with the same key stored it. */
  again: boolean;
}

/**
 * Stores a task, and waits for its end where the request asks for that.
 * @param make makes the task, as `StoreTasks` says
 * @param seconds how long at most; `undefined` where nobody waits, else the task has to be made as one that is watched
 * @param stored hears of it before anything is waited for
 */
export async function storeHeld(
  { db, waiters, store }: { db: Db; waiters: Waiters; store: StoreTasks },
  make: () => MadeTask | Promise<MadeTask>,
  { key, signal, seconds }: { key: KeyUse | undefined; signal: AbortSignal; seconds: number | undefined },
  stored: (again: boolean, id: string) => unknown = () => {},
): Promise<Held> {
  let watch = undefined as Watch | undefined;
  const makeWatched = async () => {
    const made = await make();
    if (seconds !== undefined) watch = waiters.watch(made.task.id);
    return [made];
  };
  try {
    const { rows, secrets, again } = await store(makeWatched, key);
    let task = rows[0] as TaskRow;
    await stored(again, task.id);
    if (again && seconds !== undefined) task = await awaitStored({ db, waiters }, task, seconds, signal);
    else if (watch && seconds !== undefined) task = await awaitEnd(db, watch, task, seconds, signal);
    return { task, secret: secrets[0], again };
  } finally {
    watch?.close();
  }
}

/** The answer with a task that was stored: 200 once it has ended, else 202. */
export function answerHeld(
  { task, again }: Pick<Held, 'task' | 'again'>,
  { base, seconds }: { base: string; seconds: number | undefined },
  more: { body?: object; headers?: Record<string, string> } = {},
): RouteAnswer {
  const answer = {
    status: hasEnded(task.status) ? 200 : 202,
    body: { ...presentTask(task, base), ...more.body },
    headers: {
      Location: `${base}/api/v1/tasks/${task.id}`,
      ...(seconds === undefined ? {} : { 'Preference-Applied': `wait=${seconds}` }),
      ...retryAfter(task),
      ...more.headers,
    },
  };
  return again ? replayed(answer) : answer;
}

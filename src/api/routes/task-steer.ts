import type { Db } from '../../db/connect.ts';
import { findTask } from '../../db/tasks/read.ts';
import { cancelTask, retryTask } from '../../db/tasks/steer.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import { wakesOf } from '../../queues/wakes.ts';
import { defineRoute, type Route } from '../route.ts';
import { briefly, noSuchTask, ownerFor, readTask, retryAfter, showTask } from './task-access.ts';

/** Cancelling and retrying tasks. */
export function steerRoutes({ db, dispatcher }: { db: Db; dispatcher: Dispatcher }): Route[] {
  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/:id/cancel',
      summary: 'Cancel a task',
      handle: async ({ params, principal, base }) => {
        const before = await readTask(db, principal, params.id);
        const owner = ownerFor(principal, 'tasks:steer:any');
        const moved = await cancelTask(db, owner, before.id, `by ${principal.username}`.slice(0, 40));
        if (moved) {
          await briefly(dispatcher.enqueue(wakesOf(moved)));
          if (moved.status === 'cancelled') await briefly(dispatcher.remove(moved));
        }
        const task = await findTask(db, owner, before.id);
        if (!task) throw noSuchTask();
        if (!moved && task.status !== 'cancelled' && task.status !== 'cancelling') {
          throw new ProblemError('task_ended', `The task is ${task.status} and cannot be cancelled.`);
        }
        return { status: task.status === 'cancelling' ? 202 : 200, body: showTask(task, { principal, base }) };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/:id/retry',
      summary: 'Run an ended task again',
      handle: async ({ params, principal, base }) => {
        const before = await readTask(db, principal, params.id);
        const owner = ownerFor(principal, 'tasks:steer:any');
        const moved = await retryTask(db, owner, before.id);
        if (!moved)
          throw new ProblemError('task_running', `The task is ${before.status}; only an ended task can be retried.`);
        // Read before a worker can have it: the answer shows what this request did.
        const task = (await findTask(db, owner, before.id)) ?? before;
        await briefly(dispatcher.enqueue(wakesOf(moved)));
        return {
          status: 202,
          body: showTask(task, { principal, base }),
          headers: { Location: `${base}/api/v1/tasks/${task.id}`, ...retryAfter(task) },
        };
      },
    }),
  ];
}

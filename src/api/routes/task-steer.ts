import { type AuditEntry, insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { findTask, type TaskRow } from '../../db/tasks/read.ts';
import { cancelTask, retryTask } from '../../db/tasks/steer.ts';
import type { Transition } from '../../db/tasks/transition.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import { wakesOf } from '../../queues/wakes.ts';
import type { AuditAction, Trail } from '../audit.ts';
import { beyondKey, keyRefusals } from '../key-limits.ts';
import type { Limits } from '../limits/index.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { briefly, noSuchTask, ownerFor, readTask, retryAfter, showTask } from './task-access.ts';

/** Cancelling and retrying tasks. */
export function steerRoutes({ db, dispatcher, limits }: { db: Db; dispatcher: Dispatcher; limits: Limits }): Route[] {
  /** Moves a task; with that of somebody else, the audit log is written in the same transaction. */
  async function steer(
    task: TaskRow,
    principal: Principal,
    entry: AuditEntry,
    move: (db: Db) => Promise<Transition | undefined>,
  ): Promise<Transition | undefined> {
    if (task.user_id === principal.userId) return move(db);
    return db.transaction().execute(async (trx) => {
      const moved = await move(trx);
      if (moved) await insertAudit(trx, [entry]);
      return moved;
    });
  }

  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/:id/cancel',
      summary: 'Cancel a task',
      handle: async ({ params, principal, base, trail }) => {
        const before = await readTask(db, principal, params.id);
        const owner = ownerFor(principal, 'tasks:steer:any');
        const reason = `by ${principal.username}`.slice(0, 40);
        const moved = await steer(before, principal, told(trail, 'task.cancel', before), (inside) =>
          cancelTask(inside, owner, before.id, reason),
        );
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
      idempotent: 'answer',
      summary: 'Run an ended task again',
      handle: async ({ params, principal, base, trail }) => {
        const before = await readTask(db, principal, params.id);
        if (keyRefusals(before, principal, '#').length > 0) throw beyondKey();
        const owner = ownerFor(principal, 'tasks:steer:any');
        const done = await limits.admit(before.user_id, 1);
        const moved = await steer(before, principal, told(trail, 'task.retry', before), (inside) =>
          retryTask(inside, owner, before.id),
        ).finally(done);
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

function told(trail: Trail, action: AuditAction, { id, user_id }: TaskRow): AuditEntry {
  return trail.entry({ action, object: { type: 'task', id }, details: { owner: user_id } });
}

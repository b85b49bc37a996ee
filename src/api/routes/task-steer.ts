import { type AuditEntry, insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { findTask, type TaskRow } from '../../db/tasks/read.ts';
import { cancelTask } from '../../db/tasks/steer.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import type { Places } from '../../queues/places.ts';
import type { Workflows } from '../../workflows/engine.ts';
import { answers } from '../answer.ts';
import { cancelReason, tellCancelled } from '../cancel.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { taskExample, task as taskShape } from '../shapes/task.ts';
import { noSuchTask, ownerFor, readTask, showTask } from './task-access.ts';

const CANCELLED = { ...taskExample, status: 'cancelled' as const, output: null, cancel_reason: 'by ada' };

interface Options {
  db: Db;
  dispatcher: Dispatcher;
  places: Places;
  workflows: Pick<Workflows, 'advance'>;
}

/** Cancelling tasks. */
export function steerRoutes(options: Options): Route[] {
  const { db } = options;

  /** Cancels a task; with that of somebody else, the audit log is written in the same transaction. */
  async function cancel(task: TaskRow, principal: Principal, entry: AuditEntry) {
    const owner = ownerFor(principal, 'tasks:steer:any');
    const move = (inside: Db) => cancelTask(inside, owner, task.id, cancelReason(principal), principal.username);
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
      answers: {
        200: answers('The task is cancelled, by this request or one before.', taskShape, CANCELLED),
        202: answers('It was running, and is being stopped.', taskShape, { ...CANCELLED, status: 'cancelling' }),
      },
      problems: ['task_ended'],
      handle: async ({ params, principal, base, trail }) => {
        const before = await readTask(db, principal, params.id);
        const told = { object: { type: 'task', id: before.id }, details: { owner: before.user_id } };
        const moved = await cancel(before, principal, trail.entry({ action: 'task.cancel', ...told }));
        if (moved) await tellCancelled(moved, options);
        const task = await findTask(db, ownerFor(principal, 'tasks:steer:any'), before.id);
        if (!task) throw noSuchTask();
        if (!moved && task.status !== 'cancelled' && task.status !== 'cancelling') {
          throw new ProblemError('task_ended', `The task is ${task.status} and cannot be cancelled.`);
        }
        return { status: task.status === 'cancelling' ? 202 : 200, body: showTask(task, { principal, base }) };
      },
    }),
  ];
}

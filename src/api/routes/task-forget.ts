import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { forgetPayloads } from '../../db/tasks/forget.ts';
import { findTask } from '../../db/tasks/read.ts';
import { answersNothing } from '../answer.ts';
import { notEnded, parentRunning } from '../replay.ts';
import { defineRoute, type Route } from '../route.ts';
import { noSuchTask, ownerFor, readTask } from './task-access.ts';

/** Deleting what is in tasks. */
export function forgetRoutes({ db }: { db: Db }): Route[] {
  return [
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/tasks/:id',
      summary: 'Delete what is in an ended task',
      answers: {
        204: answersNothing('Input, output and whatever else its user wrote are gone, now or since earlier.'),
      },
      problems: ['task_running', 'parent_running'],
      handle: async ({ params, principal, trail }) => {
        const before = await readTask(db, principal, params.id);
        const owner = ownerFor(principal, 'tasks:delete:any');
        const forget = (inside: Db) => forgetPayloads(inside, owner, [before.id]);
        if (before.user_id === principal.userId) await forget(db);
        else
          await db.transaction().execute(async (trx) => {
            const object = { type: 'task', id: before.id };
            const details = { owner: before.user_id };
            if ((await forget(trx)).length > 0)
              await insertAudit(trx, [trail.entry({ action: 'task.delete', object, details })]);
          });
        const task = await findTask(db, owner, before.id);
        if (!task) throw noSuchTask();
        if (!task.payload_deleted_at) throw task.completed_at && task.parent_id ? parentRunning(task) : notEnded(task);
        return { status: 204 };
      },
    }),
  ];
}

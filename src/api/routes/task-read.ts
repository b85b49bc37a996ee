import { createHash } from 'node:crypto';
import * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import { hasEnded, STATUSES, type Status } from '../../db/schema.ts';
import { listAttempts, listTasks, type TaskRow } from '../../db/tasks/read.ts';
import { defineRoute, type Route, type RouteAnswer } from '../route.ts';
import { parsePreferWait } from '../submit.ts';
import { pageQuery, time } from '../validate.ts';
import type { Waiters } from '../waiters.ts';
import { awaitStored, ownerFor, readTask, retryAfter, showTask } from './task-access.ts';

const listQuery = v.strictObject({
  ...pageQuery,
  status: v.optional(
    v.pipe(
      v.string(),
      v.transform((all) => all.split(',')),
      v.array(v.picklist(STATUSES, `must be some of ${STATUSES.join(', ')}, separated by commas`)),
    ),
  ),
  type: v.optional(v.string()),
  tag: v.optional(v.string()),
  batch_id: v.optional(v.pipe(v.string(), v.uuid('must be a UUID'))),
  created_after: v.optional(time),
  created_before: v.optional(time),
});

/** Reading tasks. */
export function readRoutes({ db, waiters }: { db: Db; waiters: Waiters }): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks',
      summary: 'List tasks, newest first',
      query: listQuery,
      handle: async ({ query, principal, base }) => {
        const page = await listTasks(db, ownerFor(principal, 'tasks:read:any'), {
          limit: query.limit,
          cursor: query.cursor,
          status: query.status as Status[] | undefined,
          type: query.type,
          tag: query.tag,
          batchId: query.batch_id,
          createdAfter: query.created_after,
          createdBefore: query.created_before,
        });
        return {
          status: 200,
          body: { data: page.rows.map((row) => showTask(row, { principal, base })), next_cursor: page.next },
        };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id',
      summary: 'Read a task',
      handle: async ({ params, principal, base, header, signal }) => {
        let task = await readTask(db, principal, params.id);
        const seconds = parsePreferWait(header('prefer'));
        if (seconds !== undefined && !hasEnded(task.status)) {
          task = await awaitStored({ db, waiters }, task, seconds, signal);
        }
        return withETag(task, showTask(task, { principal, base }), header('if-none-match'), seconds);
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id/attempts',
      summary: 'Every attempt of a task that has ended, in order',
      handle: async ({ params, principal }) => {
        const task = await readTask(db, principal, params.id);
        const attempts = await listAttempts(db, task.id);
        return {
          status: 200,
          body: { data: attempts.map(({ task_id: _, ...attempt }) => attempt), next_cursor: null },
        };
      },
    }),
  ];
}

function withETag(
  task: TaskRow,
  body: object,
  ifNoneMatch: string | undefined,
  waited: number | undefined,
): RouteAnswer {
  const etag = `"${createHash('sha1').update(JSON.stringify(body)).digest('base64url')}"`;
  const headers = {
    ETag: etag,
    'Cache-Control': 'private, no-cache',
    ...retryAfter(task),
    ...(waited === undefined ? {} : { 'Preference-Applied': `wait=${waited}` }),
  };
  const known = (ifNoneMatch ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  return known.includes(etag) || known.includes('*') ? { status: 304, headers } : { status: 200, body, headers };
}

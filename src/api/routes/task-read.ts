import { createHash } from 'node:crypto';
import * as v from 'valibot';
import type { Config } from '../../config.ts';
import type { Db } from '../../db/connect.ts';
import { hasEnded } from '../../db/schema.ts';
import { listTasks } from '../../db/tasks/list.ts';
import { listAttempts, type TaskRow } from '../../db/tasks/read.ts';
import { findPlace } from '../../queues/place.ts';
import { taskFilter } from '../../tasks/task-filter.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import { explainTask } from '../explain.ts';
import { defineRoute, type Route, type RouteAnswer } from '../route.ts';
import { attempt, attemptExample } from '../shapes/attempt.ts';
import { explanation, explanationExample } from '../shapes/explanation.ts';
import { taskExample, task as taskShape } from '../shapes/task.ts';
import { parsePreferWait } from '../submit.ts';
import { pageQuery } from '../validate.ts';
import type { Waiters } from '../waiters.ts';
import { awaitStored, ownerFor, readTask, retryAfter, showTask } from './task-access.ts';

const listQuery = v.strictObject({ ...pageQuery, ...taskFilter });

const attemptNumber = v.pipe(
  v.string(),
  v.regex(/^[1-9]\d{0,8}$/, 'must be the next_cursor of an earlier answer'),
  v.description('The `next_cursor` of the page before.'),
  v.transform(Number),
);

/** Reading tasks. */
export function readRoutes({ db, waiters, config }: { db: Db; waiters: Waiters; config: Config }): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks',
      summary: 'List tasks, newest first',
      query: listQuery,
      answers: { 200: answers('A page of tasks.', pageOf(taskShape), { data: [taskExample], next_cursor: null }) },
      handle: async ({ query, principal, base }) => {
        const { limit, cursor, ...filter } = query;
        const page = await listTasks(db, ownerFor(principal, 'tasks:read:any'), filter, { limit, cursor });
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
      headers: ['Prefer', 'If-None-Match'],
      answers: {
        200: answers('The task.', taskShape, taskExample, [
          'ETag',
          'Cache-Control',
          'Retry-After',
          'Preference-Applied',
        ]),
        304: answersNothing('Nothing has changed since the `ETag` of `If-None-Match`.', [
          'ETag',
          'Cache-Control',
          'Retry-After',
          'Preference-Applied',
        ]),
      },
      handle: async ({ params, principal, base, header, signal }) => {
        let task = await readTask(db, principal, params.id);
        const seconds = parsePreferWait(header('prefer'));
        if (seconds !== undefined && !hasEnded(task.status)) {
          task = await awaitStored({ db, waiters }, task, seconds, signal);
        }
        const place = await findPlace(db, task, config.queue.agingMs);
        const shown = { ...showTask(task, { principal, base }), queue_position: place?.position ?? null };
        return withETag(task, shown, header('if-none-match'), seconds);
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id/explain',
      summary: 'Why a task waits, at which place, and when it will probably start',
      answers: { 200: answers('What holds the task back.', explanation, explanationExample) },
      handle: async ({ params, principal, base }) => {
        const task = await readTask(db, principal, params.id);
        // The model that it names stands in the input, which not everybody may see.
        const { input } = showTask(task, { principal, base });
        const body = await explainTask(
          db,
          { ...task, input },
          {
            agingMs: config.queue.agingMs,
            everybody: config.limits.user.running_tasks,
            limits: config.limits.user,
          },
        );
        return { status: 200, body };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id/attempts',
      summary: 'Every attempt of a task that has ended, in order',
      query: v.strictObject({ limit: pageQuery.limit, cursor: v.optional(attemptNumber) }),
      answers: { 200: answers('The attempts.', pageOf(attempt), { data: [attemptExample], next_cursor: null }) },
      handle: async ({ params, query, principal }) => {
        const task = await readTask(db, principal, params.id);
        const rows = await listAttempts(db, task.id, { limit: query.limit + 1, after: query.cursor ?? 0 });
        const data = rows.slice(0, query.limit).map(({ task_id: _, ...attempt }) => attempt);
        const next = rows.length > query.limit ? String(data.at(-1)?.attempt) : null;
        return { status: 200, body: { data, next_cursor: next } };
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

import { createHash } from 'node:crypto';
import * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import { isId, newId } from '../../db/ids.ts';
import { hasEnded, STATUSES, type Status } from '../../db/schema.ts';
import type { NewTask } from '../../db/tasks/accept.ts';
import { findTask, listAttempts, listTasks, type Owner, type TaskRow, watchTask } from '../../db/tasks/read.ts';
import { cancelTask, retryTask } from '../../db/tasks/steer.ts';
import { type FieldError, ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import { wakesOf } from '../../queues/wakes.ts';
import type { SecretBox } from '../../secretbox.ts';
import type { Registry } from '../../tasks/index.ts';
import { presentTask } from '../../tasks/present.ts';
import type { Permission } from '../policy.ts';
import { defineRoute, type Principal, type Route, type RouteAnswer } from '../route.ts';
import { applyCancelAfter, parsePreferWait, prepareTask, type Submission, submission } from '../submit.ts';
import { invalid } from '../validate.ts';
import type { Waiters } from '../waiters.ts';

interface Options {
  db: Db;
  registry: Registry;
  dispatcher: Dispatcher;
  waiters: Waiters;
  box: SecretBox;
  checkUrl: (url: string) => string | undefined;
  /** Stores a task together with those of other callers. */
  accept: (tasks: NewTask[]) => Promise<TaskRow[]>;
}

const MAX_BATCH = 1_000;
const NOT_FOUND = () => new ProblemError('not_found', 'There is no such task.');

const listQuery = v.strictObject({
  limit: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,3}$/, 'must be a whole number from 1 to 200'),
      v.transform(Number),
      v.minValue(1, 'must be from 1 to 200'),
      v.maxValue(200, 'must be from 1 to 200'),
    ),
    '50',
  ),
  cursor: v.optional(v.pipe(v.string(), v.check(isId, 'must be the next_cursor of an earlier answer'))),
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
  created_after: v.optional(
    v.pipe(
      v.string(),
      v.isoTimestamp('must be a time such as 2030-01-31T12:00:00Z'),
      v.transform((text) => new Date(text)),
    ),
  ),
  created_before: v.optional(
    v.pipe(
      v.string(),
      v.isoTimestamp('must be a time such as 2030-01-31T12:00:00Z'),
      v.transform((text) => new Date(text)),
    ),
  ),
});

/** Submitting, reading and steering tasks. */
export function taskRoutes(options: Options): Route[] {
  const { db, dispatcher, waiters, accept } = options;

  function prepareAll(
    given: Array<{ submission: Submission; pointer: string }>,
    context: { userId: string; requestId: string; batchId: string | null; watched: boolean },
  ) {
    const errors: FieldError[] = [];
    const prepared = given.flatMap((one) => {
      const made = prepareTask(one.submission, { ...context, pointer: one.pointer }, options);
      if ('task' in made) return [made];
      errors.push(...made.errors);
      return [];
    });
    if (errors.length > 0) throw invalid(errors);
    return prepared;
  }

  async function store(tasks: NewTask[]): Promise<TaskRow[]> {
    const rows = await accept(tasks);
    // The rows are durable: whether a job could be added now changes nothing in the answer.
    await dispatcher.enqueue(rows.map((row) => ({ ...row, kind: 'task' as const })));
    return rows;
  }

  /** The task when it has ended, or as it is after `seconds`. */
  async function awaitEnd(owner: Owner, task: TaskRow, seconds: number, signal: AbortSignal): Promise<TaskRow> {
    const until = Date.now() + seconds * 1000;
    let current = task;
    while (!hasEnded(current.status) && Date.now() < until && !signal.aborted) {
      await waiters.wait(task.id, until - Date.now(), signal);
      current = (await findTask(db, owner, task.id)) ?? current;
    }
    return current;
  }

  async function readTask(principal: Principal, id: string): Promise<TaskRow> {
    const task = isId(id) ? await findTask(db, ownerFor(principal, 'tasks:read:any'), id) : undefined;
    if (!task) throw NOT_FOUND();
    return task;
  }

  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks',
      summary: 'Submit a task',
      body: submission,
      handle: async ({ body, principal, requestId, base, header, signal }) => {
        const seconds = parsePreferWait(header('prefer'));
        const given = applyCancelAfter(body, header('cancel-after'));
        const [made] = prepareAll([{ submission: given, pointer: '#' }], {
          userId: principal.userId,
          requestId,
          batchId: null,
          watched: seconds !== undefined,
        });
        const [row] = await store([made!.task]);
        const task = seconds === undefined ? row! : await awaitEnd({ userId: principal.userId }, row!, seconds, signal);
        return {
          status: hasEnded(task.status) ? 200 : 202,
          body: { ...presentTask(task, base), ...webhookSecret(made!.secret) },
          headers: {
            Location: `${base}/api/v1/tasks/${task.id}`,
            ...(seconds === undefined ? {} : { 'Preference-Applied': `wait=${seconds}` }),
            ...retryAfter(task),
          },
        };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/batch',
      summary: 'Submit up to 1,000 tasks, all or none',
      body: v.strictObject({
        tasks: v.pipe(
          v.array(submission),
          v.minLength(1, 'must hold at least one task'),
          v.maxLength(MAX_BATCH, `must hold at most ${MAX_BATCH} tasks`),
        ),
      }),
      handle: async ({ body, principal, requestId, base }) => {
        const batchId = newId();
        const given = body.tasks.map((one, index) => ({ submission: one, pointer: `#/tasks/${index}` }));
        const made = prepareAll(given, { userId: principal.userId, requestId, batchId, watched: false });
        const rows = await store(made.map(({ task }) => task));
        return {
          status: 202,
          body: {
            batch_id: batchId,
            tasks: rows.map((row, index) => ({ ...presentTask(row, base), ...webhookSecret(made[index]?.secret) })),
          },
          headers: { Location: `${base}/api/v1/tasks?batch_id=${batchId}` },
        };
      },
    }),
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
        return { status: 200, body: { data: page.rows.map((row) => presentTask(row, base)), next_cursor: page.next } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id',
      summary: 'Read a task',
      handle: async ({ params, principal, base, header, signal }) => {
        let task = await readTask(principal, params.id ?? '');
        const seconds = parsePreferWait(header('prefer'));
        if (seconds !== undefined && !hasEnded(task.status)) {
          await watchTask(db, task.id);
          task = await awaitEnd(
            ownerFor(principal, 'tasks:read:any'),
            await readTask(principal, task.id),
            seconds,
            signal,
          );
        }
        return withETag(task, presentTask(task, base), header('if-none-match'), seconds);
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id/attempts',
      summary: 'Every attempt of a task that has ended, in order',
      handle: async ({ params, principal }) => {
        const task = await readTask(principal, params.id ?? '');
        const attempts = await listAttempts(db, task.id);
        return {
          status: 200,
          body: { data: attempts.map(({ task_id: _, ...attempt }) => attempt), next_cursor: null },
        };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/:id/cancel',
      summary: 'Cancel a task',
      handle: async ({ params, principal, base }) => {
        const before = await readTask(principal, params.id ?? '');
        const owner = ownerFor(principal, 'tasks:steer:any');
        const moved = await cancelTask(db, owner, before.id, `by ${principal.username}`.slice(0, 40));
        if (moved) {
          await dispatcher.enqueue(wakesOf(moved));
          if (moved.status === 'cancelled') await dispatcher.remove(moved);
        }
        const task = await findTask(db, owner, before.id);
        if (!task) throw NOT_FOUND();
        if (!moved && task.status !== 'cancelled' && task.status !== 'cancelling') {
          throw new ProblemError('task_ended', `The task is ${task.status} and cannot be cancelled.`);
        }
        return { status: task.status === 'cancelling' ? 202 : 200, body: presentTask(task, base) };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/:id/retry',
      summary: 'Run an ended task again',
      handle: async ({ params, principal, base }) => {
        const before = await readTask(principal, params.id ?? '');
        const owner = ownerFor(principal, 'tasks:steer:any');
        const moved = await retryTask(db, owner, before.id);
        if (!moved)
          throw new ProblemError('task_running', `The task is ${before.status}; only an ended task can be retried.`);
        await dispatcher.enqueue(wakesOf(moved));
        const task = (await findTask(db, owner, before.id)) ?? before;
        return {
          status: 202,
          body: presentTask(task, base),
          headers: { Location: `${base}/api/v1/tasks/${task.id}`, ...retryAfter(task) },
        };
      },
    }),
  ];
}

/** Whose tasks this principal may touch. */
function ownerFor(principal: Principal, permission: Permission): Owner {
  return principal.can(permission) ? 'any' : { userId: principal.userId };
}

/** A secret that was made here is shown in this one answer. */
function webhookSecret(secret: string | undefined) {
  return secret === undefined ? {} : { webhook_secret: secret };
}

const RETRY_AFTER_SECONDS = '1';

function retryAfter(task: TaskRow): Record<string, string> {
  return hasEnded(task.status) ? {} : { 'Retry-After': RETRY_AFTER_SECONDS };
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

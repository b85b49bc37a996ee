import * as v from 'valibot';
import { type AuditEntry, insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { hasEnded } from '../../db/schema.ts';
import { findTask, type TaskRow } from '../../db/tasks/read.ts';
import { cancelTask, retryTask } from '../../db/tasks/steer.ts';
import type { Transition } from '../../db/tasks/transition.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import type { Places } from '../../queues/places.ts';
import { wakesOf } from '../../queues/wakes.ts';
import type { Workflows } from '../../workflows/engine.ts';
import { type AnswerHeader, answers } from '../answer.ts';
import type { AuditAction, Trail } from '../audit.ts';
import { cancelReason, tellCancelled } from '../cancel.ts';
import { replayed } from '../idempotency.ts';
import { beyondKey, keyRefusals } from '../key-limits.ts';
import type { Limits } from '../limits/index.ts';
import { notEnded, parentRunning, payloadDeleted, replayTask } from '../replay.ts';
import { defineRoute, type Principal, type Route, type RouteInput } from '../route.ts';
import { pendingExample, taskExample, task as taskShape } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import type { PrepareContext } from '../submit.ts';
import { parsePreferWait } from '../submit.ts';
import { invalid } from '../validate.ts';
import type { Waiters } from '../waiters.ts';
import { checkWorkflows } from '../workflow-tasks.ts';
import { awaitStored, briefly, noSuchTask, ownerFor, readTask, retryAfter, showTask } from './task-access.ts';

const CANCELLED = { ...taskExample, status: 'cancelled' as const, output: null, cancel_reason: 'by ada' };

const RETRY_HEADERS: AnswerHeader[] = ['Location', 'Preference-Applied', 'Retry-After', 'Idempotency-Replayed'];

type Asked = Pick<RouteInput<unknown, unknown>, 'principal' | 'requestId' | 'base' | 'key' | 'header' | 'signal'>;

interface Options extends PrepareContext {
  db: Db;
  dispatcher: Dispatcher;
  places: Places;
  workflows: Pick<Workflows, 'advance'>;
  limits: Limits;
  store: StoreTasks;
  waiters: Waiters;
}

/** Cancelling and retrying tasks. */
export function steerRoutes(options: Options): Route[] {
  const { db, dispatcher, limits, store } = options;

  /** Moves a task; with that of somebody else, the audit log is written in the same transaction. */
  async function steer<T extends Transition>(
    task: TaskRow,
    principal: Principal,
    entry: AuditEntry,
    move: (db: Db) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    if (task.user_id === principal.userId) return move(db);
    return db.transaction().execute(async (trx) => {
      const moved = await move(trx);
      if (moved) await insertAudit(trx, [entry]);
      return moved;
    });
  }

  /** What a task that was set going is answered with, at its end where the client wants to wait for that. */
  async function under(task: TaskRow, seconds: number | undefined, { principal, base, signal }: Asked) {
    const shown = seconds === undefined ? task : await awaitStored(options, task, seconds, signal);
    return {
      status: hasEnded(shown.status) ? 200 : 202,
      body: showTask(shown, { principal, base }),
      headers: {
        Location: `${base}/api/v1/tasks/${task.id}`,
        ...(seconds === undefined ? {} : { 'Preference-Applied': `wait=${seconds}` }),
        ...retryAfter(shown),
      },
    };
  }

  async function replay(origin: TaskRow, input: unknown, asked: Asked) {
    const { principal, requestId, key, header } = asked;
    const seconds = parsePreferWait(header('prefer'));
    if (origin.user_id !== principal.userId)
      throw new ProblemError('forbidden', 'Only the user of a task can run it with another input.');
    if (!principal.can('tasks:create'))
      throw new ProblemError('forbidden', 'Another input makes a new task, which wants the permission tasks:create.');
    const made = replayTask(origin, input, requestId, options);
    const workflow = await checkWorkflows(
      [{ submission: made.task, pointer: '#' }],
      { db, userId: principal.userId, principal },
      options,
    );
    if (workflow.errors.length > 0) throw invalid(workflow.errors);
    if (workflow.refused.length > 0) throw beyondKey(workflow.refused);
    const { rows, again } = await store(
      [{ ...made, task: { ...made.task, input: workflow.inputs.get(0) ?? made.task.input } }],
      key,
    );
    const answer = await under(rows[0]!, seconds, asked);
    return again ? replayed(answer) : answer;
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
        const owner = ownerFor(principal, 'tasks:steer:any');
        const moved = await steer(before, principal, told(trail, 'task.cancel', before), (inside) =>
          cancelTask(inside, owner, before.id, cancelReason(principal), principal.username),
        );
        if (moved) await tellCancelled(moved, options);
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
      body: v.strictObject({ input: v.optional(v.unknown()) }),
      bodyOptional: true,
      example: { input: { message: 'hello again' } },
      // A new task is stored together with the key.
      idempotent: ({ input }) => (input === undefined ? 'answer' : 'commit'),
      summary: 'Run an ended task again, or with another input as a new task',
      headers: ['Prefer'],
      answers: {
        200: answers('The task has ended within the time of `Prefer: wait`.', taskShape, taskExample, RETRY_HEADERS),
        202: answers(
          'The task waits again; where the request brought an input, the new task, which names this one as its origin.',
          taskShape,
          pendingExample,
          RETRY_HEADERS,
        ),
      },
      problems: ['task_running', 'parent_running', 'payload_deleted', 'concurrency_limit'],
      handle: async (asked) => {
        const { params, principal, trail, key, header } = asked;
        const before = await readTask(db, principal, params.id);
        // The answer to a key is kept when it is given, which must not be later than its lease.
        const seconds = key ? undefined : parsePreferWait(header('prefer'));
        const again = { ...before, input: asked.body.input ?? before.input };
        if (keyRefusals(again, principal, '#').length > 0) throw beyondKey();
        const inside = { db, userId: before.user_id, principal };
        const workflow = await checkWorkflows([{ submission: before, pointer: '#' }], inside, options);
        if (workflow.refused.length > 0) throw beyondKey();
        if (asked.body.input !== undefined) return replay(before, asked.body.input, asked);
        const owner = ownerFor(principal, 'tasks:steer:any');
        const done = await limits.admit(before.user_id, 1);
        const moved = await steer(before, principal, told(trail, 'task.retry', before), (inside) =>
          retryTask(inside, owner, before.id, principal.username, dispatcher.full()),
        ).finally(done);
        // Read before a worker can have it: the answer shows what this request did.
        const task = (await findTask(db, owner, before.id)) ?? before;
        if (!moved) throw notRetried(task);
        await briefly(dispatcher.enqueue(wakesOf(moved)));
        return under(task, seconds, asked);
      },
    }),
  ];
}

function notRetried(task: TaskRow): ProblemError {
  if (task.payload_deleted_at) return payloadDeleted();
  return hasEnded(task.status) && task.parent_id ? parentRunning(task) : notEnded(task);
}

function told(trail: Trail, action: AuditAction, { id, user_id }: TaskRow): AuditEntry {
  return trail.entry({ action, object: { type: 'task', id }, details: { owner: user_id } });
}

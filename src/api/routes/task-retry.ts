import * as v from 'valibot';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { findKey, keepAnswer, type Taken, takeKey } from '../../db/idempotency.ts';
import { hasEnded } from '../../db/schema.ts';
import { findTask, type TaskRow } from '../../db/tasks/read.ts';
import { retryTask } from '../../db/tasks/steer.ts';
import type { Transition } from '../../db/tasks/transition.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import { wakesOf } from '../../queues/wakes.ts';
import type { Workflows } from '../../workflows/engine.ts';
import { type AnswerHeader, answers } from '../answer.ts';
import { keyRefused, replayed } from '../idempotency.ts';
import { beyondKey, keyRefusals } from '../key-limits.ts';
import type { Limits } from '../limits/index.ts';
import { notEnded, parentRunning, payloadDeleted, replayTask } from '../replay.ts';
import { defineRoute, type Route, type RouteAnswer, type RouteInput } from '../route.ts';
import { pendingExample, taskExample, task as taskShape } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import { type PrepareContext, parsePreferWait } from '../submit.ts';
import type { Waiters } from '../waiters.ts';
import { checkWorkflows } from '../workflow-tasks.ts';
import { awaitStored, briefly, noSuchTask, ownerFor, readTask, retryAfter, showTask } from './task-access.ts';

interface Options extends PrepareContext {
  db: Db;
  dispatcher: Dispatcher;
  limits: Limits;
  store: StoreTasks;
  waiters: Waiters;
  workflows: Pick<Workflows, 'moveOn'>;
}

type Asked = RouteInput<{ input?: unknown }, unknown>;
type Retried = { is: 'retried'; moved: Transition; task: TaskRow };

const HEADERS: AnswerHeader[] = ['Location', 'Preference-Applied', 'Retry-After', 'Idempotency-Replayed'];

/** Running ended tasks again. */
export function retryRoutes(options: Options): Route[] {
  const { db, box, dispatcher, limits, store, workflows } = options;

  const present = (task: TaskRow, { principal, base }: Asked): RouteAnswer & { body: object } => ({
    status: hasEnded(task.status) ? 200 : 202,
    body: showTask(task, { principal, base }),
    headers: { Location: `${base}/api/v1/tasks/${task.id}`, ...retryAfter(task) },
  });

  /** A task that was set going, at its end where the client wants to wait for that. */
  async function held(task: TaskRow, seconds: number, asked: Asked): Promise<RouteAnswer> {
    const answer = present(await awaitStored(options, task, seconds, asked.signal), asked);
    return { ...answer, headers: { ...answer.headers, 'Preference-Applied': `wait=${seconds}` } };
  }

  /** The task that the path names. @throws ProblemError where it is none of theirs, or more than their API key may do */
  async function readOld({ params, principal, body }: Asked): Promise<TaskRow> {
    const task = await readTask(db, principal, params.id);
    if (keyRefusals({ ...task, input: body.input ?? task.input }, principal, '#').length > 0) throw beyondKey();
    const inside = { db, userId: task.user_id, principal };
    const workflow = await checkWorkflows([{ submission: task, pointer: '#' }], inside, options);
    if (workflow.refused.length > 0) throw beyondKey();
    return task;
  }

  /** A new task out of an ended one, with another input. */
  async function replay(asked: Asked): Promise<RouteAnswer> {
    const { principal, requestId, key, header, body } = asked;
    const make = async () => {
      const origin = await readOld(asked);
      if (origin.user_id !== principal.userId)
        throw new ProblemError('forbidden', 'Only the user of a task can run it with another input.');
      if (!principal.can('tasks:create'))
        throw new ProblemError('forbidden', 'Another input makes a new task, which wants the permission tasks:create.');
      return [await replayTask(origin, body.input, { principal, requestId }, options)];
    };
    const { rows, again } = await store(make, key);
    const task = rows[0] as TaskRow;
    const seconds = parsePreferWait(header('prefer'));
    const answer = seconds === undefined ? present(task, asked) : await held(task, seconds, asked);
    return again ? replayed(answer) : answer;
  }

  /** What is kept under a key: the answer without what belongs to the payload of the task, which may be deleted before the key. */
  function receiptOf(task: TaskRow, asked: Asked): Buffer {
    const answer = present(task, asked);
    return box.seal(JSON.stringify({ ...answer, body: { ...answer.body, ...NO_PAYLOAD } }));
  }

  /** The first answer, or with `Prefer: wait` the task at its end. */
  async function again(first: Taken, old: TaskRow, asked: Asked): Promise<RouteAnswer> {
    if (first.is !== 'answered') throw keyRefused(first.is);
    const seconds = parsePreferWait(asked.header('prefer'));
    if (seconds !== undefined) return replayed(await held(old, seconds, asked));
    const then = JSON.parse(box.open(first.answer)) as RouteAnswer & { body: object };
    const { title, input, metadata, tags, concurrency_key } = showTask(old, asked);
    return replayed({ ...then, body: { ...then.body, title, input, metadata, tags, concurrency_key } });
  }

  /** Runs it again, its key and what the audit log says of it in the same transaction. */
  async function move(old: TaskRow, asked: Asked): Promise<Taken | Retried> {
    const { principal, key, trail } = asked;
    const owner = ownerFor(principal, 'tasks:steer:any');
    const done = await limits.admit(old.user_id, 1);
    const moving = db.transaction().execute(async (trx): Promise<Taken | Retried> => {
      const standing = key && (await takeKey(trx, key));
      if (standing && standing.is !== 'mine') return standing;
      const moved = await retryTask(trx, owner, old.id, principal.username, dispatcher.full());
      const task = await findTask(trx, owner, old.id);
      if (!task) throw noSuchTask();
      if (!moved) throw notRetried(task);
      const told = { object: { type: 'task', id: task.id }, details: { owner: task.user_id } };
      if (task.user_id !== principal.userId) await insertAudit(trx, [trail.entry({ action: 'task.retry', ...told })]);
      if (key) await keepAnswer(trx, key, receiptOf(task, asked));
      return { is: 'retried', moved, task };
    });
    return moving.finally(done);
  }

  async function retry(asked: Asked): Promise<RouteAnswer> {
    const { principal, key, header } = asked;
    const old = await readOld(asked);
    // To read a task is not to steer it.
    const owner = ownerFor(principal, 'tasks:steer:any');
    if (owner !== 'any' && owner.userId !== old.user_id) throw noSuchTask();
    // A workflow that was cancelled a moment ago may not have stopped its parts yet; until then they are not run again.
    if (old.parent_id) await briefly(workflows.moveOn(old.parent_id));
    const outcome = await move(old, asked).catch(async (refusal) => {
      // A repetition is not refused because of the room that the first request has taken.
      const first = refusal instanceof ProblemError && key ? await findKey(db, key) : undefined;
      if (first) return first;
      throw refusal;
    });
    if (outcome.is !== 'retried') return again(outcome, old, asked);
    await briefly(dispatcher.enqueue(wakesOf(outcome.moved)));
    const seconds = parsePreferWait(header('prefer'));
    return seconds === undefined ? present(outcome.task, asked) : held(outcome.task, seconds, asked);
  }

  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/:id/retry',
      body: v.strictObject({ input: v.optional(v.unknown()) }),
      bodyOptional: true,
      example: { input: { message: 'hello again' } },
      idempotent: 'commit',
      summary: 'Run an ended task again, or with another input as a new task',
      headers: ['Prefer'],
      answers: {
        200: answers('The task has ended within the time of `Prefer: wait`.', taskShape, taskExample, HEADERS),
        202: answers(
          'The task waits again; where the request brought an input, the new task, which names this one as its origin.',
          taskShape,
          pendingExample,
          HEADERS,
        ),
      },
      problems: ['task_running', 'parent_running', 'payload_deleted', 'concurrency_limit'],
      handle: (asked) => (asked.body.input === undefined ? retry(asked) : replay(asked)),
    }),
  ];
}

const NO_PAYLOAD = { title: null, input: null, metadata: null, tags: [], concurrency_key: null };

function notRetried(task: TaskRow): ProblemError {
  if (task.payload_deleted_at) return payloadDeleted();
  return hasEnded(task.status) && task.parent_id ? parentRunning(task) : notEnded(task);
}

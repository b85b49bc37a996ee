import * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import { hasEnded } from '../../db/schema.ts';
import type { NewTask } from '../../db/tasks/accept.ts';
import type { TaskRow } from '../../db/tasks/read.ts';
import type { FieldError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import type { SecretBox } from '../../secretbox.ts';
import type { Registry } from '../../tasks/index.ts';
import { presentTask } from '../../tasks/present.ts';
import { beyondKey, keyRefusals, usualPriority } from '../key-limits.ts';
import type { Limits } from '../limits/index.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { applyCancelAfter, parsePreferWait, prepareTask, type Submission, submission } from '../submit.ts';
import { invalid } from '../validate.ts';
import type { Waiters } from '../waiters.ts';
import { awaitEnd, briefly, retryAfter } from './task-access.ts';

interface Options {
  db: Db;
  registry: Registry;
  dispatcher: Dispatcher;
  waiters: Waiters;
  limits: Limits;
  box: SecretBox;
  checkUrl: (url: string) => string | undefined;
  /** Stores tasks together with those of other callers. */
  accept: (tasks: NewTask[]) => Promise<TaskRow[]>;
}

const MAX_BATCH = 1_000;

/** Submitting tasks. */
export function submitRoutes(options: Options): Route[] {
  const { db, dispatcher, waiters, limits, accept } = options;

  function prepareAll(
    given: Array<{ submission: Submission; pointer: string }>,
    { principal, ...context }: { principal: Principal; requestId: string; batchId: string | null; watched: boolean },
  ) {
    const errors: FieldError[] = [];
    const whose = { ...context, userId: principal.userId, usualPriority: usualPriority(principal) };
    const prepared = given.flatMap((one) => {
      const made = prepareTask(one.submission, { ...whose, pointer: one.pointer }, options);
      if ('task' in made) return [made];
      errors.push(...made.errors);
      return [];
    });
    if (errors.length > 0) throw invalid(errors);
    const refused = given.flatMap(({ submission: one, pointer }) => keyRefusals(one, principal, pointer));
    if (refused.length > 0) throw beyondKey(refused);
    return prepared;
  }

  async function store(tasks: NewTask[]): Promise<TaskRow[]> {
    const done = await limits.admit(tasks[0]?.user_id ?? '', tasks.length);
    const rows = await accept(tasks).finally(done);
    // The rows are durable: whether a job could be added changes nothing in the answer.
    await briefly(dispatcher.enqueue(rows.map((row) => ({ ...row, kind: 'task' as const }))));
    return rows;
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
          principal,
          requestId,
          batchId: null,
          watched: seconds !== undefined,
        });
        const watch = seconds === undefined ? undefined : waiters.watch(made!.task.id);
        try {
          const [row] = await store([made!.task]);
          const task = watch ? await awaitEnd(db, watch, row!, seconds ?? 0, signal) : row!;
          return {
            status: hasEnded(task.status) ? 200 : 202,
            body: { ...presentTask(task, base), ...webhookSecret(made!.secret) },
            headers: {
              Location: `${base}/api/v1/tasks/${task.id}`,
              ...(seconds === undefined ? {} : { 'Preference-Applied': `wait=${seconds}` }),
              ...retryAfter(task),
            },
          };
        } finally {
          watch?.close();
        }
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
        const made = prepareAll(given, { principal, requestId, batchId, watched: false });
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
  ];
}

/** A secret that was made here is shown in this one answer. */
function webhookSecret(secret: string | undefined) {
  return secret === undefined ? {} : { webhook_secret: secret };
}

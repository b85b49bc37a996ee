import * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import { hasEnded } from '../../db/schema.ts';
import type { FieldError } from '../../errors.ts';
import type { SecretBox } from '../../secretbox.ts';
import type { Registry } from '../../tasks/index.ts';
import { presentTask } from '../../tasks/present.ts';
import { replayed } from '../idempotency.ts';
import { beyondKey, keyRefusals, usualPriority } from '../key-limits.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import type { StoreTasks } from '../store.ts';
import { applyCancelAfter, parsePreferWait, prepareTask, type Submission, submission } from '../submit.ts';
import { invalid } from '../validate.ts';
import type { Waiters } from '../waiters.ts';
import { awaitEnd, awaitStored, retryAfter } from './task-access.ts';

interface Options {
  db: Db;
  registry: Registry;
  waiters: Waiters;
  box: SecretBox;
  store: StoreTasks;
  checkUrl: (url: string) => string | undefined;
}

const MAX_BATCH = 1_000;

/** Submitting tasks. */
export function submitRoutes(options: Options): Route[] {
  const { db, waiters, store } = options;

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

  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks',
      summary: 'Submit a task',
      body: submission,
      idempotent: 'commit',
      handle: async ({ body, principal, requestId, base, header, key, signal }) => {
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
          const { rows, secrets, again } = await store([made!], key);
          let task = rows[0]!;
          if (watch && again) task = await awaitStored(options, task, seconds ?? 0, signal);
          else if (watch) task = await awaitEnd(db, watch, task, seconds ?? 0, signal);
          const answer = {
            status: hasEnded(task.status) ? 200 : 202,
            body: { ...presentTask(task, base), ...webhookSecret(secrets[0]) },
            headers: {
              Location: `${base}/api/v1/tasks/${task.id}`,
              ...(seconds === undefined ? {} : { 'Preference-Applied': `wait=${seconds}` }),
              ...retryAfter(task),
            },
          };
          return again ? replayed(answer) : answer;
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
      idempotent: 'commit',
      handle: async ({ body, principal, requestId, base, key }) => {
        const given = body.tasks.map((one, index) => ({ submission: one, pointer: `#/tasks/${index}` }));
        const made = prepareAll(given, { principal, requestId, batchId: newId(), watched: false });
        const { rows, secrets, again } = await store(made, key);
        const batchId = rows[0]?.batch_id;
        const answer = {
          status: 202,
          body: {
            batch_id: batchId,
            tasks: rows.map((row, index) => ({ ...presentTask(row, base), ...webhookSecret(secrets[index]) })),
          },
          headers: { Location: `${base}/api/v1/tasks?batch_id=${batchId}` },
        };
        return again ? replayed(answer) : answer;
      },
    }),
  ];
}

/** A secret that was made here is shown in the answer to the submission, and nowhere else. */
function webhookSecret(secret: string | undefined) {
  return secret === undefined ? {} : { webhook_secret: secret };
}

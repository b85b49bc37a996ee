import * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import type { SecretBox } from '../../secretbox.ts';
import type { Registry } from '../../tasks/index.ts';
import { sentId } from '../../tasks/named.ts';
import { presentTask } from '../../tasks/present.ts';
import { answers } from '../answer.ts';
import { replayed } from '../idempotency.ts';
import { usualPriority } from '../key-limits.ts';
import { type Placed, prepareAll } from '../prepare.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { pendingExample, submittedTask, taskExample } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import { applyCancelAfter, parsePreferWait, submission } from '../submit.ts';
import type { Waiters } from '../waiters.ts';
import { answerHeld, storeHeld, TASK_HEADERS } from './task-answer.ts';

interface Options {
  db: Db;
  registry: Registry;
  waiters: Waiters;
  box: SecretBox;
  store: StoreTasks;
  checkUrl: (url: string) => string | undefined;
}

const MAX_BATCH = 1_000;
const BATCH = '0199a5c2-7d1d-7001-8b00-000000000001';

/** Submitting tasks. */
export function submitRoutes(options: Options): Route[] {
  const { store } = options;

  const prepare = (
    given: Placed[],
    asked: { principal: Principal; requestId: string; batchId?: string; watched?: boolean },
  ) =>
    prepareAll(
      given,
      { ...asked, userId: asked.principal.userId, usualPriority: usualPriority(asked.principal) },
      options,
    );

  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks',
      summary: 'Submit a task',
      body: submission,
      example: { type: 'echo', input: { message: 'hello' }, tags: ['nightly'] },
      headers: ['Prefer', 'Cancel-After'],
      idempotent: 'commit',
      problems: ['concurrency_limit'],
      answers: {
        200: answers('The task has ended within the time of `Prefer: wait`.', submittedTask, taskExample, TASK_HEADERS),
        202: answers('The task is stored and will be run.', submittedTask, pendingExample, TASK_HEADERS),
      },
      handle: async ({ body, principal, requestId, base, header, key, signal }) => {
        const seconds = parsePreferWait(header('prefer'));
        const given = applyCancelAfter(body, header('cancel-after'));
        const make = async () => {
          const asked = { principal, requestId, watched: seconds !== undefined };
          return (await prepare([{ submission: given, pointer: '#' }], asked))[0]!;
        };
        const held = await storeHeld(options, make, { key, signal, seconds });
        return answerHeld(held, { base, seconds }, { body: webhookSecret(held.secret) });
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/batch',
      summary: 'Submit up to 1,000 tasks, all or none',
      headers: ['Cancel-After'],
      body: v.strictObject({
        tasks: v.pipe(
          v.array(submission),
          v.minLength(1, 'must hold at least one task'),
          v.maxLength(MAX_BATCH, `must hold at most ${MAX_BATCH} tasks`),
        ),
      }),
      example: {
        tasks: [
          { type: 'echo', input: { message: 'first' } },
          { type: 'echo', input: { message: 'second' } },
        ],
      },
      idempotent: 'commit',
      problems: ['concurrency_limit'],
      answers: {
        202: answers(
          'All tasks are stored and will be run.',
          v.strictObject({ batch_id: sentId, tasks: v.array(submittedTask) }),
          { batch_id: BATCH, tasks: [{ ...pendingExample, batch_id: BATCH }] },
          ['Location', 'Idempotency-Replayed'],
        ),
      },
      handle: async ({ body, principal, requestId, base, header, key }) => {
        const given = body.tasks.map((one, index) => ({
          submission: applyCancelAfter(one, header('cancel-after')),
          pointer: `#/tasks/${index}`,
        }));
        const make = () => prepare(given, { principal, requestId, batchId: newId() });
        const { rows, secrets, again } = await store(make, key);
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

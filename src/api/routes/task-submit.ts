import * as v from 'valibot';
import { findActiveAgents } from '../../db/agents.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import type { FieldError } from '../../errors.ts';
import type { SecretBox } from '../../secretbox.ts';
import type { Registry } from '../../tasks/index.ts';
import { sentId } from '../../tasks/named.ts';
import { presentTask } from '../../tasks/present.ts';
import { answers } from '../answer.ts';
import { replayed } from '../idempotency.ts';
import { beyondKey, keyRefusals, usualPriority } from '../key-limits.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { pendingExample, submittedTask, taskExample } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import { applyCancelAfter, parsePreferWait, prepareTask, type Submission, submission } from '../submit.ts';
import { invalid } from '../validate.ts';
import { lengthErrors } from '../vector-lengths.ts';
import type { Waiters } from '../waiters.ts';
import { checkWorkflows } from '../workflow-tasks.ts';
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
  const { db, store } = options;

  async function prepareAll(
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
    errors.push(...(await agentErrors(db, principal.userId, given)));
    if (errors.length === 0) errors.push(...(await lengthErrors(options, principal.userId, given)));
    if (errors.length > 0) throw invalid(errors);
    const refused = given.flatMap(({ submission: one, pointer }) => keyRefusals(one, principal, pointer));
    const workflows = await checkWorkflows(given, { db, userId: principal.userId, principal }, options);
    if (workflows.errors.length > 0) throw invalid(workflows.errors);
    if (refused.length + workflows.refused.length > 0) throw beyondKey([...refused, ...workflows.refused]);
    for (const [index, input] of workflows.inputs) prepared[index]!.task.input = input;
    return prepared;
  }

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
          const context = { principal, requestId, batchId: null, watched: seconds !== undefined };
          return (await prepareAll([{ submission: given, pointer: '#' }], context))[0]!;
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
        const make = () => prepareAll(given, { principal, requestId, batchId: newId(), watched: false });
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

/** Agents that are not there, not for this user, or switched off; asks only where some are named. */
async function agentErrors(
  db: Db,
  userId: string,
  given: Array<{ submission: Submission; pointer: string }>,
): Promise<FieldError[]> {
  const named = given.flatMap(({ submission: { agent_id }, pointer }) =>
    agent_id === undefined ? [] : [{ id: agent_id.toLowerCase(), pointer: `${pointer}/agent_id` }],
  );
  if (named.length === 0) return [];
  const active = await findActiveAgents(db, userId, [...new Set(named.map(({ id }) => id))]);
  return named.flatMap(({ id, pointer }) =>
    active.has(id) ? [] : [{ pointer, detail: 'is not the id of an active agent' }],
  );
}

/** A secret that was made here is shown in the answer to the submission, and nowhere else. */
function webhookSecret(secret: string | undefined) {
  return secret === undefined ? {} : { webhook_secret: secret };
}

import * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import { countChosen } from '../../db/tasks/bulk.ts';
import { ProblemError } from '../../errors.ts';
import { presentTask } from '../../tasks/present.ts';
import { strictObject } from '../../tasks/schemas.ts';
import { taskBulk } from '../../tasks/task-bulk.ts';
import { taskFilter } from '../../tasks/task-filter.ts';
import { answers } from '../answer.ts';
import { replayed } from '../idempotency.ts';
import { usualPriority } from '../key-limits.ts';
import type { Permission } from '../policy.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { pendingExample, task as taskShape } from '../shapes/task.ts';
import type { StoreTasks } from '../store.ts';
import { type PrepareContext, prepareTask } from '../submit.ts';
import { invalid } from '../validate.ts';
import { retryAfter } from './task-access.ts';

interface Options extends PrepareContext {
  db: Db;
  store: StoreTasks;
}

const bulkBody = v.strictObject({
  action: taskBulk.input.entries.action,
  filter: v.optional(strictObject(taskFilter), {}),
  all: v.optional(v.literal(true, 'must be true, or not there')),
  owner: v.optional(v.union([v.literal('any'), v.pipe(v.string(), v.uuid())], 'must be "any" or the id of a user')),
  dry_run: v.optional(v.boolean()),
});

/** Beyond this a dry run says only that there are more. */
const MAX_COUNTED = 10_000;

/** Steering many tasks at once. */
export function bulkRoutes(options: Options): Route[] {
  const { db, store } = options;
  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/bulk',
      summary: 'Cancel, retry or delete all tasks that a filter chooses',
      body: bulkBody,
      example: { action: 'retry', filter: { status: 'failed', tag: 'nightly' } },
      idempotent: 'commit',
      answers: {
        200: answers(
          'With `dry_run`: how many tasks it would be for; `null` where they are more than 10,000.',
          v.strictObject({ matched: v.nullable(v.pipe(v.number(), v.integer())) }),
          { matched: 42 },
        ),
        202: answers('The task that does it.', taskShape, EXAMPLE, ['Location', 'Retry-After', 'Idempotency-Replayed']),
      },
      handle: async ({ body, sent, principal, requestId, base, key, trail }) => {
        const { action, filter } = body;
        const chosen = (sent as { filter?: object }).filter ?? {};
        const some = Object.keys(chosen).length > 0;
        if (some === (body.all === true))
          throw invalid([
            some
              ? { pointer: '#/all', detail: 'cannot stand beside a filter' }
              : { pointer: '#/filter', detail: 'chooses every task: say what to choose by, or `"all": true`' },
          ]);
        const owner = body.owner?.toLowerCase() ?? principal.userId;
        const foreign = owner !== principal.userId;
        refuse(principal, action === 'delete' ? 'tasks:delete' : 'tasks:steer', foreign);
        if (body.dry_run) {
          const may = { task_types: principal.taskTypes ?? null, priority_ceiling: principal.priorityCeiling ?? null };
          const whose = owner === 'any' ? owner : { userId: owner };
          const selection = { action, filter, owner: whose, before: newId(), may } as const;
          return { status: 200, body: { matched: (await countChosen(db, selection, MAX_COUNTED)) ?? null } };
        }
        const input = {
          action,
          filter: chosen,
          ...(foreign && { owner }),
          ...(principal.keyId && { key_id: principal.keyId }),
        };
        const make = () => {
          const made = prepareTask(
            { type: taskBulk.name, input, metadata: {}, tags: [] },
            {
              ...{ userId: principal.userId, requestId, batchId: null, watched: false, pointer: '#' },
              ...{ usualPriority: usualPriority(principal), route: taskBulk.route },
            },
            options,
          );
          if ('errors' in made) throw invalid(made.errors);
          return [made];
        };
        const { rows, again } = await store(make, key);
        const task = rows[0]!;
        if (foreign && !again)
          trail.record({
            action: 'task.bulk',
            object: { type: 'task', id: task.id },
            details: { action, owner, filter: Object.keys(chosen) },
          });
        const answer = {
          status: 202,
          body: presentTask(task, base),
          headers: { Location: `${base}/api/v1/tasks/${task.id}`, ...retryAfter(task) },
        };
        return again ? replayed(answer) : answer;
      },
    }),
  ];
}

function refuse(principal: Principal, needed: 'tasks:steer' | 'tasks:delete', foreign: boolean): void {
  const all: Permission[] = foreign ? [needed, `${needed}:any`] : [needed];
  const missing = all.find((one) => !principal.can(one));
  if (missing) throw new ProblemError('forbidden', `This wants the permission ${missing}.`);
}

const EXAMPLE = {
  ...pendingExample,
  ...{ type: taskBulk.name, input: { action: 'cancel', filter: { tag: 'nightly' } }, tags: [] },
};

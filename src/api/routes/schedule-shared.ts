import type * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import type { ScheduleRow } from '../../db/schedules.ts';
import { ProblemError } from '../../errors.ts';
import { nextTick, type Timing, ticksFrom } from '../../schedules/clock.ts';
import { newWebhookSecret } from '../../webhooks/sign.ts';
import { beyondKey, keyRefusals, usualPriority } from '../key-limits.ts';
import { prepareAll } from '../prepare.ts';
import type { Principal } from '../route.ts';
import { type ScheduledTask, withoutSecret } from '../scheduled-task.ts';
import type { schedule as shape } from '../shapes/schedule.ts';
import type { PrepareContext } from '../submit.ts';
import { invalid } from '../validate.ts';

const SHOWN_TICKS = 3;

/** A schedule as its owner sees it. */
export function presentSchedule(row: ScheduleRow, base: string): v.InferOutput<typeof shape> {
  const { id, name, cron, every_seconds, timezone, enabled, catch_up, last_run_at, last_task_id, last_error } = row;
  const { task, missed, user_id, created_at, updated_at } = row;
  const next_run_at = enabled ? row.next_run_at : null;
  const self = `${base}/api/v1/schedules/${id}`;
  return {
    ...{ id, name, cron, every_seconds, timezone, enabled, catch_up },
    task: task as ReturnType<typeof presentSchedule>['task'],
    next_run_at,
    next_runs: next_run_at ? ticksFrom(row, next_run_at, SHOWN_TICKS) : [],
    ...{ last_run_at, last_task_id, last_error, missed, user_id, created_at, updated_at },
    urls: { self, run: `${self}/run` },
  };
}

/** One of the two ways to say when. @throws ProblemError `validation_failed` where there is none, or both */
export function timingOf({
  cron,
  every_seconds,
}: {
  cron?: string | null;
  every_seconds?: number | null;
}): Pick<Timing, 'cron' | 'every_seconds'> {
  const [pattern, seconds] = [cron ?? null, every_seconds ?? null];
  if (pattern !== null && seconds !== null)
    throw invalid([{ pointer: '#/every_seconds', detail: 'cannot stand beside cron' }]);
  if (pattern === null && seconds === null)
    throw invalid([{ pointer: '#/cron', detail: 'is missing: say when by cron or by every_seconds' }]);
  return { cron: pattern, every_seconds: seconds };
}

/** The first tick after now. @throws ProblemError `validation_failed` where none comes in this time zone */
export function nextOf(timing: Timing, now: Date): Date {
  const next = nextTick(timing, now);
  if (!next) throw invalid([{ pointer: '#/cron', detail: 'names a time that never comes' }]);
  return next;
}

/**
 * Who may not submit the task of a schedule may not have it submitted either. @param pointer where it stands in the body, if it does
 * @throws ProblemError `forbidden`
 */
export function refuseToSubmit(
  task: { type: string; priority?: number },
  principal: Principal,
  pointer?: string,
): void {
  if (!principal.can('tasks:create'))
    throw new ProblemError('forbidden', 'A schedule submits tasks, which wants the permission tasks:create.');
  const refused = keyRefusals(task, principal, pointer ?? '#');
  if (refused.length > 0) throw beyondKey(pointer === undefined ? undefined : refused);
}

/**
 * Checks the task of a schedule as if it were submitted, and answers its columns, and the webhook secret where it was made here.
 * @throws ProblemError `validation_failed`, and `forbidden` for what an API key may not submit
 */
export async function checkTask(
  given: ScheduledTask,
  principal: Principal,
  context: PrepareContext & { db: Db },
): Promise<{ task: { task: string; webhook_secret: Buffer | null }; secret: string | undefined }> {
  const whose = { userId: principal.userId, principal, requestId: null, usualPriority: usualPriority(principal) };
  await prepareAll([{ submission: given, pointer: '#/task' }], whose, context);
  refuseToSubmit(given, principal, '#/task');
  const { webhook } = given;
  const secret = webhook && !webhook.secret ? newWebhookSecret() : undefined;
  const sealed = webhook ? context.box.seal(secret ?? (webhook.secret as string)) : null;
  // A key with a ceiling makes schedules of its ceiling: the tick does not know the key any more.
  const task = { ...withoutSecret(given), priority: given.priority ?? usualPriority(principal) };
  return { task: { task: JSON.stringify(task), webhook_secret: sealed }, secret };
}

import * as v from 'valibot';
import type { ScheduleRow } from '../db/schedules.ts';
import type { MakeTask } from '../schedules/ticker.ts';
import { type PrepareContext, type Prepared, prepareTask, type Submission, scheduledTask } from './submit.ts';

export type ScheduledTask = v.InferOutput<typeof scheduledTask>;

/** How a task is stored in its schedule: without the secret of its webhook, which is sealed apart. */
export function withoutSecret({ webhook, ...task }: ScheduledTask): Record<string, unknown> {
  const { secret: _, ...shown } = webhook ?? {};
  return { ...task, ...(webhook ? { webhook: shown } : {}) };
}

/** The task of a schedule, checked as if it were submitted now. @param requestId of the request that starts it, where one does */
export function prepareScheduled(row: ScheduleRow, requestId: string | null, context: PrepareContext): Prepared {
  const parsed = v.safeParse(scheduledTask, row.task);
  if (!parsed.success) return { errors: [{ pointer: '#/task', detail: parsed.issues[0].message }] };
  const { webhook } = parsed.output;
  const secret = row.webhook_secret ? context.box.open(row.webhook_secret) : undefined;
  const given: Submission = { ...parsed.output, webhook: webhook && { ...webhook, secret } };
  const whose = { userId: row.user_id, requestId, batchId: null, watched: false, usualPriority: 5, pointer: '#/task' };
  const made = prepareTask(given, whose, context);
  return 'errors' in made ? made : { task: { ...made.task, schedule_id: row.id }, secret: undefined };
}

/** Makes tasks for the ticker. */
export function createTaskMaker(context: PrepareContext): MakeTask {
  return (row) => {
    const made = prepareScheduled(row, null, context);
    if ('task' in made) return made.task;
    const message = made.errors.map(({ pointer, detail }) => `${pointer} ${detail}`).join('; ');
    return { refused: { code: 'validation_failed', message: message.slice(0, 1_000) } };
  };
}

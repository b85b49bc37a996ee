import * as v from 'valibot';
import type { Db } from '../db/connect.ts';
import type { ScheduleRow } from '../db/schedules.ts';
import { ProblemError } from '../errors.ts';
import type { MakeTask } from '../schedules/ticker.ts';
import { prepareAll } from './prepare.ts';
import type { Principal } from './route.ts';
import type { MadeTask } from './store.ts';
import { type PrepareContext, type Submission, scheduledTask } from './submit.ts';
import { invalid } from './validate.ts';

export type ScheduledTask = v.InferOutput<typeof scheduledTask>;

const NOT_GOOD = 'The task of the schedule is not good any more.';

/** How a task is stored in its schedule: without the secret of its webhook, which is sealed apart. */
export function withoutSecret({ webhook, ...task }: ScheduledTask): Record<string, unknown> {
  const { secret: _, ...shown } = webhook ?? {};
  return { ...task, ...(webhook ? { webhook: shown } : {}) };
}

/**
 * The task of a schedule, checked as if it were submitted now.
 * @param by the request that starts it, and who sent that; at a tick nobody did, and the owner alone counts
 * @throws ProblemError `validation_failed`, and `forbidden` for what who starts it may not submit
 */
export async function prepareScheduled(
  row: ScheduleRow,
  context: PrepareContext & { db: Db },
  by: { principal?: Principal; requestId: string | null } = { requestId: null },
): Promise<MadeTask> {
  const parsed = v.safeParse(scheduledTask, row.task);
  if (!parsed.success) throw invalid([{ pointer: '#/task', detail: parsed.issues[0].message }], NOT_GOOD);
  const { webhook } = parsed.output;
  const secret = row.webhook_secret ? context.box.open(row.webhook_secret) : undefined;
  const submission: Submission = { ...parsed.output, webhook: webhook && { ...webhook, secret } };
  const asked = { ...by, userId: row.user_id, usualPriority: 5, detail: NOT_GOOD };
  const [made] = await prepareAll([{ submission, pointer: '#/task' }], asked, context);
  return { task: { ...made!.task, schedule_id: row.id }, secret: undefined };
}

/** Makes tasks for the ticker. */
export function createTaskMaker(context: PrepareContext): MakeTask {
  return async (row, db) => {
    try {
      return (await prepareScheduled(row, { ...context, db })).task;
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      const reasons = error.errors?.map(({ pointer, detail }) => `${pointer} ${detail}`) ?? [error.message];
      return { refused: { code: error.code, message: reasons.join('; ').slice(0, 1_000) } };
    }
  };
}

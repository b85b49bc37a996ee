import { type BatchChange, deleteLines, listEnded } from '../../../db/batches.ts';
import { findTasks } from '../../../db/tasks/read.ts';
import { append, writeError, writeTask } from './output.ts';
import { STEP, type StepContext } from './step-parts.ts';

/** Why a task of a batch that is wound up came to nothing. */
export const WHY = {
  batch_cancelled: 'The batch was cancelled before this line was done.',
  batch_expired: 'The time of the batch was over before this line was done.',
} as const;

/** Writes lines whose tasks have ended into the files, as many as a step may hold. */
export async function writeEnded(
  { batch, trx }: StepContext,
  why?: keyof typeof WHY,
): Promise<{ change: BatchChange; more: boolean; wrote: boolean }> {
  const ended = await listEnded(trx, batch.id, batch.submitted_to, STEP.lines);
  let stored = 0;
  const now = ended.filter(({ size }, n) => {
    stored += size;
    return n === 0 || stored <= STEP.stored;
  });
  if (now.length === 0) return { change: {}, more: false, wrote: false };
  const tasks = new Map(
    (
      await findTasks(
        trx,
        now.map(({ task_id }) => task_id),
      )
    ).map((task) => [task.id, task]),
  );
  // One that was run again meanwhile is written down when it has ended again.
  const done = now.filter(({ task_id }) => tasks.get(task_id)?.completed_at !== null);
  const written = done.map((line) => {
    const task = tasks.get(line.task_id);
    const dropped = task?.status === 'cancelled' || task?.status === 'expired';
    if (!why || !dropped) return writeTask(batch.endpoint, line, task);
    const error = { code: why, message: WHY[why], param: null, line: line.line };
    return writeError(`batch_req_${line.task_id}`, line.custom_id, error);
  });
  await deleteLines(
    trx,
    batch.id,
    done.map(({ line }) => line),
  );
  const more = now.length < ended.length || ended.length === STEP.lines;
  return { change: await append(trx, batch, written), more, wrote: written.length > 0 };
}

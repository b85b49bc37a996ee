import { countOpen, deleteLines, forgetRefused, listLines, listUnended } from '../../../db/batches.ts';
import { cancelTasks } from '../../../db/tasks/steer.ts';
import { WHY, writeEnded } from './ended.ts';
import { append, finish, writeError } from './output.ts';
import { idOf, STEP, type StepContext, type Stepped, without } from './step-parts.ts';

/** Takes back what is under way, keeps what has come of it, and ends the batch once nothing is left. */
export async function windUp(context: StepContext): Promise<Stepped> {
  const { batch, trx } = context;
  const cancelled = batch.status === 'cancelling';
  const why = cancelled ? 'batch_cancelled' : 'batch_expired';
  const running = await listUnended(trx, batch.id, batch.submitted_to, STEP.lines);
  const reason = cancelled ? 'batch cancelled' : 'batch expired';
  const moved = running.length > 0 ? await cancelTasks(trx, { userId: batch.user_id }, running, reason, null) : [];
  // Where it was not looked at to its end, those are still there.
  if (batch.in_progress_at === null) await forgetRefused(trx, batch.id);
  const harvest = await writeEnded(context, why);
  const rest = await listLines(trx, batch.id, batch.submitted_to, STEP.lines);
  const given = { ...batch, ...without(harvest.change) };
  const written = rest.map(({ line, custom_id }) =>
    writeError(idOf(batch, line), custom_id, { code: why, message: WHY[why], param: null, line }),
  );
  if (rest.length > 0)
    await deleteLines(
      trx,
      batch.id,
      rest.map(({ line }) => line),
    );
  const change = { ...harvest.change, ...(await append(trx, given, written)) };
  const left = rest.length === STEP.lines || harvest.more || moved.length > 0;
  if (left || (await countOpen(trx, batch.id, batch.submitted_to)) > 0)
    return { change, moved, next: left ? 'at once' : 'later' };
  await finish(trx, { ...batch, ...without(change) });
  const status = cancelled ? 'cancelled' : batch.finalizing_at! >= batch.expires_at ? 'expired' : 'completed';
  return { change: { ...change, status }, moved, next: 'ended' };
}

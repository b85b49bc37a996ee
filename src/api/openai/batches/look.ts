import { type BatchLine, forgetRefused, insertLines, REFUSED } from '../../../db/batches.ts';
import { FileGone } from '../../../db/files.ts';
import type { BatchError } from '../../../db/schema.ts';
import { isStorable } from '../../../tasks/clean.ts';
import { readLines, taskOfLine } from './lines.ts';
import { append, type Written, writeError } from './output.ts';
import { breather, FILE_DELETED, idOf, lineContext, STEP, type StepContext, type Stepped } from './step-parts.ts';

/** What a step read of a file. */
interface Seen {
  /** Lines that name themselves, the refused ones too: nobody may have that name behind them. */
  named: Array<Omit<BatchLine, 'task_id'>>;
  written: Written[];
  total: number;
  readTo: number;
  more: boolean;
}

/** Looks at the next lines of the file: what is wrong is written down, the others are remembered. */
export async function look(context: StepContext): Promise<Stepped> {
  const { batch, trx, maxLines } = context;
  const seen = await read(context).catch((error) => {
    if (error instanceof FileGone) return undefined;
    throw error;
  });
  if (!seen) return fail(context, FILE_DELETED);
  const { named, written, total, readTo, more } = seen;
  if (total > maxLines) {
    const message = `The file has more than ${maxLines} lines. Split it.`;
    return fail(context, { code: 'too_many_lines', message, line: maxLines + 1 });
  }
  if (total === 0) return fail(context, { code: 'empty_file', message: 'The file has no line.', line: null });
  const taken = await insertLines(trx, batch.id, named);
  for (const { line, custom_id, length } of named) {
    if (taken.has(line) || length === REFUSED) continue;
    const message = 'The line has the custom_id of one before it.';
    const error = { code: 'duplicate_custom_id', message, param: 'custom_id', line };
    written.push(writeError(idOf(batch, line), custom_id, error));
  }
  const change = { ...(await append(trx, batch, written)), total, read_to: readTo };
  if (more) return { change, next: 'at once' };
  await forgetRefused(trx, batch.id);
  return { change: { ...change, status: 'in_progress' }, next: 'at once' };
}

async function read(context: StepContext): Promise<Seen> {
  const { batch, trx, maxLineBytes } = context;
  const from = Number(batch.read_to);
  const seen: Seen = { named: [], written: [], total: batch.total, readTo: from, more: false };
  const breathe = breather();
  for await (const { start, end, length, text, rest } of readLines(trx, batch.input_file_id, from, maxLineBytes)) {
    seen.readTo = end;
    if (!rest) {
      const line = ++seen.total;
      const made = taskOfLine({ text }, line, lineContext(context));
      const { custom_id } = made;
      if ('error' in made) seen.written.push(writeError(idOf(batch, line), custom_id, made.error));
      if (custom_id !== null && isStorable(custom_id))
        seen.named.push({ line, custom_id, start, length: 'error' in made ? REFUSED : length });
    }
    seen.more = end - from >= STEP.bytes || seen.total - batch.total >= STEP.lines;
    if (seen.more) break;
    await breathe();
  }
  return seen;
}

async function fail({ batch, trx }: StepContext, error: BatchError): Promise<Stepped> {
  await trx.deleteFrom('batch_lines').where('batch_id', '=', batch.id).execute();
  if (batch.error_file_id) await trx.deleteFrom('files').where('id', '=', batch.error_file_id).execute();
  const counts = { total: 0, completed: 0, failed: 0, error_file_id: null };
  return { change: { ...counts, errors: [error], status: 'failed' }, next: 'ended' };
}

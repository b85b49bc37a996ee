import { type BatchLine, forgetRefused, insertLines, REFUSED } from '../../../db/batches.ts';
import { FileGone } from '../../../db/files.ts';
import type { BatchError } from '../../../db/schema.ts';
import { isStorable } from '../../../tasks/clean.ts';
import { type FileLine, readLines, taskOfLine } from './lines.ts';
import { append, type Written, writeError } from './output.ts';
import { breather, FILE_DELETED, idOf, lineContext, STEP, type StepContext, type Stepped } from './step-parts.ts';

/** What a step read of a file. */
interface Seen {
  /** Lines that name themselves, the refused ones too: nobody may have that name behind them. */
  named: Array<Omit<BatchLine, 'task_id'>>;
  written: Written[];
  total: number;
  /** Lines that ask for nothing; they count among those before a line alone. */
  blank: number;
  /** The first line that is one too many. */
  beyond: number | undefined;
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
  const { named, written, total, blank, beyond, readTo, more } = seen;
  if (beyond !== undefined) {
    const message = `The file has more than ${maxLines} lines. Split it.`;
    return fail(context, { code: 'too_many_lines', message, line: beyond });
  }
  if (total === 0 && !more) return fail(context, { code: 'empty_file', message: 'The file has no line.', line: null });
  const taken = await insertLines(trx, batch.id, named);
  for (const { line, custom_id, length } of named) {
    if (taken.has(line) || length === REFUSED) continue;
    const message = 'The line has the custom_id of one before it.';
    const error = { code: 'duplicate_custom_id', message, param: 'custom_id', line };
    written.push(writeError(idOf(batch, line), custom_id, error));
  }
  const change = { ...(await append(trx, batch, written)), total, blank, read_to: readTo };
  if (more) return { change, next: 'at once' };
  await forgetRefused(trx, batch.id);
  return { change: { ...change, status: 'in_progress' }, next: 'at once' };
}

async function read(context: StepContext): Promise<Seen> {
  const { batch, trx, maxLineBytes, maxLines } = context;
  const from = Number(batch.read_to);
  const { total, blank } = batch;
  const seen: Seen = { named: [], written: [], total, blank, beyond: undefined, readTo: from, more: false };
  const breathe = breather();
  for await (const { start, end, length, text, rest } of readLines(trx, batch.input_file_id, from, maxLineBytes)) {
    seen.readTo = end;
    if (!rest) {
      const asks = !isBlank(text);
      seen[asks ? 'total' : 'blank']++;
      const line = seen.total + seen.blank;
      // However many there are of either, that is not looked at for ever.
      if (Math.max(seen.total, seen.blank) > maxLines) seen.beyond ??= line;
      if (asks) note(seen, line, { text, start, length }, context);
    }
    const looked = seen.total + seen.blank - batch.total - batch.blank;
    seen.more = end - from >= STEP.bytes || looked >= STEP.lines;
    if (seen.more) break;
    await breathe();
  }
  return seen;
}

/** Whether a line is empty, or has white space alone. */
function isBlank(text: Buffer | undefined): boolean {
  return text?.every((byte) => byte === 32 || (byte >= 9 && byte <= 13)) ?? false;
}

/** Takes down a line that asks for something: what it is called, and what is wrong with it. */
function note(
  seen: Seen,
  line: number,
  { text, start, length }: Pick<FileLine, 'text' | 'start' | 'length'>,
  context: StepContext,
): void {
  const made = taskOfLine({ text }, line, lineContext(context));
  const { custom_id } = made;
  const isWrong = 'error' in made;
  if (isWrong) seen.written.push(writeError(idOf(context.batch, line), custom_id, made.error));
  if (custom_id !== null && isStorable(custom_id))
    seen.named.push({ line, custom_id, start, length: isWrong ? REFUSED : length });
}

async function fail({ batch, trx }: StepContext, error: BatchError): Promise<Stepped> {
  await trx.deleteFrom('batch_lines').where('batch_id', '=', batch.id).execute();
  if (batch.error_file_id) await trx.deleteFrom('files').where('id', '=', batch.error_file_id).execute();
  const counts = { total: 0, completed: 0, failed: 0, error_file_id: null };
  return { change: { ...counts, errors: [error], status: 'failed' }, next: 'ended' };
}

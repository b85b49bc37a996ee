import { type BatchChange, countOpen, deleteLines, listLines, setTasks } from '../../../db/batches.ts';
import { FileGone, readFile } from '../../../db/files.ts';
import { acceptTasks, type NewTask } from '../../../db/tasks/accept.ts';
import type { TaskRow } from '../../../db/tasks/read.ts';
import { writeEnded } from './ended.ts';
import { ENDPOINTS } from './endpoints.ts';
import { taskOfLine } from './lines.ts';
import { look } from './look.ts';
import { append, type Written, writeError } from './output.ts';
import {
  breather,
  FILE_DELETED,
  idOf,
  lineContext,
  type May,
  STEP,
  type StepContext,
  type Stepped,
  without,
} from './step-parts.ts';
import { windUp } from './wind-up.ts';

/** Does the next part of a batch, in the transaction that holds it: all of the step is there afterwards, or nothing. */
export async function step(context: StepContext): Promise<Stepped> {
  const { batch } = context;
  const going = batch.status === 'validating' || batch.status === 'in_progress';
  // Its time is over: what has not ended will not.
  if (going && batch.late) return { change: { status: 'finalizing' }, next: 'at once' };
  if (!going) return windUp(context);
  return batch.status === 'validating' ? look(context) : goOn(context);
}

/** Writes down what has ended, and submits as many lines as there is room for. */
async function goOn(context: StepContext): Promise<Stepped> {
  const { batch, trx, window } = context;
  const harvest = await writeEnded(context);
  const { change, more } = harvest;
  const open = await countOpen(trx, batch.id, batch.submitted_to);
  const left = Math.min(STEP.lines, window - open);
  if (left <= 0) return { change, next: more ? 'at once' : 'later' };
  const lines = await listLines(trx, batch.id, batch.submitted_to, left);
  if (lines.length === 0) {
    const over = open === 0 && !more;
    return over
      ? { change: { ...change, status: 'finalizing' }, next: 'at once' }
      : { change, next: more ? 'at once' : 'later' };
  }
  // Asked before anything is read: a batch that may not go on costs next to nothing.
  const may = await context.may(ENDPOINTS[batch.endpoint]?.type ?? '');
  if ('forbidden' in may) {
    const errors = [{ code: 'forbidden', message: may.forbidden, line: null }];
    return { change: { ...change, errors, status: 'cancelling' }, next: 'at once' };
  }
  if (may.room === 0) return { change, next: more ? 'at once' : harvest.wrote ? 'later' : 'no room' };
  const bytes = await readThem(context, lines.slice(0, may.room));
  if (!bytes) return { change: { ...change, errors: [FILE_DELETED], status: 'cancelling' }, next: 'at once' };
  const fed = await submit(context, bytes, may, change);
  return { change: { ...change, ...fed.change }, accepted: fed.accepted, next: 'at once' };
}

interface Bytes {
  line: number;
  custom_id: string;
  text: Buffer;
}

/** The first of these lines with what they say, as many as a step may hold; `undefined` where the file is gone. */
async function readThem(
  { batch, trx }: StepContext,
  lines: Awaited<ReturnType<typeof listLines>>,
): Promise<Bytes[] | undefined> {
  const from = lines[0]!.start;
  const within = lines.filter(({ start, length }, n) => n === 0 || start + length - from <= STEP.bytes);
  const last = within.at(-1)!;
  try {
    const range = { from, to: last.start + last.length };
    const bytes = Buffer.concat(await Array.fromAsync(readFile(trx, batch.input_file_id, range)));
    return within.map(({ line, custom_id, start, length }) => {
      return { line, custom_id, text: bytes.subarray(start - from, start - from + length) };
    });
  } catch (error) {
    if (error instanceof FileGone) return undefined;
    throw error;
  }
}

/** Makes the tasks of lines. */
async function submit(
  context: StepContext,
  lines: Bytes[],
  { modelRefusal }: Exclude<May, { forbidden: string }>,
  before: BatchChange,
): Promise<{ change: BatchChange; accepted: TaskRow[] }> {
  const { batch, trx } = context;
  const tasks: Array<{ line: number; task: NewTask }> = [];
  const written: Written[] = [];
  const breathe = breather();
  for (const { line, custom_id, text } of lines) {
    const made = taskOfLine({ text }, line, { ...lineContext(context), modelRefusal });
    if ('error' in made) {
      // It was good when it was looked at: what is allowed has changed since.
      written.push(writeError(idOf(batch, line), custom_id, made.error));
      await deleteLines(trx, batch.id, [line]);
    } else tasks.push({ line, task: made.task });
    await breathe();
  }
  const accepted =
    tasks.length > 0 ? await acceptTasks(trx, context.dispatcher.receive(tasks.map(({ task }) => task))) : [];
  if (tasks.length > 0)
    await setTasks(
      trx,
      batch.id,
      tasks.map(({ line, task }) => ({ line, task_id: task.id })),
    );
  const change = await append(trx, { ...batch, ...without(before) }, written);
  return { change: { ...change, submitted_to: lines.at(-1)!.line }, accepted };
}

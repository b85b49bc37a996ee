import type { Transaction } from 'kysely';
import type { BatchChange, BatchRow } from '../../../db/batches.ts';
import { appendToFile, createFile, finishFile, PART_BYTES } from '../../../db/files.ts';
import type { Database } from '../../../db/schema.ts';
import type { TaskRow } from '../../../db/tasks/read.ts';
import { describeError } from '../error.ts';
import { openAiId } from '../ids.ts';
import { errorOfTask } from '../task-error.ts';
import { ENDPOINTS } from './endpoints.ts';
import type { LineError } from './lines.ts';

/** What is written of lines: into which file, and what. */
export interface Written {
  file: 'output' | 'error';
  text: string;
}

interface EndedLine {
  custom_id: string;
  line: number;
  task_id: string;
}

/** The line that tells of a task that has ended; `undefined` stands for one that is gone. */
export function writeTask(endpoint: string, line: EndedLine, task: TaskRow | undefined): Written {
  try {
    return tellTask(endpoint, line, task);
  } catch {
    // Models answer all kinds of things: one that cannot be told must not hold up the others.
    const message = 'What came of this line cannot be told as an answer of this endpoint. Read the task instead.';
    const error = { code: 'unreadable_answer', message, param: null, line: line.line };
    return writeError(`batch_req_${line.task_id}`, line.custom_id, error);
  }
}

function tellTask(endpoint: string, line: EndedLine, task: TaskRow | undefined): Written {
  const { custom_id, task_id } = line;
  const id = `batch_req_${task_id}`;
  if (task?.status === 'completed' && task.payload_deleted_at === null) {
    const response = { status_code: 200, request_id: task_id, body: ENDPOINTS[endpoint]?.answer(task) };
    return { file: 'output', text: `${JSON.stringify({ id, custom_id, response, error: null })}\n` };
  }
  if (!task || task.status === 'completed') {
    const message = 'The task of this line, or what came of it, was deleted before it was written down.';
    return writeError(id, custom_id, { code: 'task_deleted', message, param: null, line: line.line });
  }
  const { status, body } = describeError(errorOfTask(task));
  const { code, message, param } = body.error;
  const response = { status_code: status, request_id: task_id, body };
  const error = { code: code ?? 'task_failed', message, param, line: line.line };
  return writeError(id, custom_id, error, response);
}

/** The line that tells of one that came to nothing. */
export function writeError(
  id: string,
  custom_id: string | null,
  error: LineError,
  response: object | null = null,
): Written {
  return { file: 'error', text: `${JSON.stringify({ id, custom_id, response, error })}\n` };
}

/** Adds lines to the files of a batch, which begin with their first line; answers what that changes of it. */
export async function append(
  trx: Transaction<Database>,
  batch: BatchRow,
  all: readonly Written[],
): Promise<BatchChange> {
  const change: BatchChange = {};
  for (const file of ['output', 'error'] as const) {
    const lines = all.filter((one) => one.file === file);
    if (lines.length === 0) continue;
    const column = `${file}_file_id` as const;
    const id = batch[column] ?? (await begin(trx, batch, file));
    change[column] = id;
    const bytes = Buffer.from(lines.map(({ text }) => text).join(''));
    for (let at = 0; at < bytes.length; at += PART_BYTES)
      if ((await appendToFile(trx, id, bytes.subarray(at, at + PART_BYTES))) !== 'added')
        throw new Error(`the file ${id} of the batch ${batch.id} is not there any more`);
    const counter = file === 'output' ? 'completed' : 'failed';
    change[counter] = batch[counter] + lines.length;
  }
  return change;
}

async function begin(trx: Transaction<Database>, { id, user_id }: BatchRow, what: string): Promise<string> {
  const filename = `${openAiId('batch', id)}_${what}.jsonl`;
  const about = { userId: user_id, filename, contentType: 'application/jsonl', purpose: 'batch_output' };
  return (await createFile(trx, about)).id;
}

/** From now on the files of a batch can be read. */
export async function finish(trx: Transaction<Database>, batch: BatchRow): Promise<void> {
  for (const id of [batch.output_file_id, batch.error_file_id]) if (id !== null) await finishFile(trx, id);
}

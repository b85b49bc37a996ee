import * as v from 'valibot';
import type { Db } from '../../../db/connect.ts';
import { readFile } from '../../../db/files.ts';
import type { NewTask } from '../../../db/tasks/accept.ts';
import { type FieldError, ProblemError } from '../../../errors.ts';
import { strictObject } from '../../../tasks/schemas.ts';
import { type PrepareContext, prepareTask } from '../../submit.ts';
import { invalid, parseBody, parseJson } from '../../validate.ts';
import { placed } from '../calls.ts';
import { describeError } from '../error.ts';
import { ENDPOINTS } from './endpoints.ts';

/** A line as it stands in a file; without its text where that is too long. */
export interface FileLine {
  start: number;
  /** Of what was read of it. */
  length: number;
  text: Buffer | undefined;
  /** From where on to read what is behind it. */
  end: number;
  /** It is more of a line that was too long and told of before. */
  rest: boolean;
}

const NEWLINE = 10;

/**
 * Reads lines from where one ended on, without holding more than one of them and a part of the file. An empty last line is none.
 * One that is too long is told of a part of the file at a time, so whoever reads can stop within it.
 * @param max the most bytes of a line whose text is wanted
 */
export async function* readLines(db: Db, fileId: string, from: number, max: number): AsyncGenerator<FileLine> {
  let [start, length, rest] = [from, 0, false];
  let held: Uint8Array[] = [];
  const line = (end: number): FileLine => {
    return { start, length, end, rest, text: length <= max && !rest ? Buffer.concat(held) : undefined };
  };
  // The byte before tells whether a line ended there.
  let begin = Math.max(0, from - 1);
  for await (const part of readFile(db, fileId, { from: begin })) {
    let at = from - begin === 1 ? 1 : 0;
    if (at === 1) rest = part[0] !== NEWLINE;
    while (at < part.length) {
      const newline = part.indexOf(NEWLINE, at);
      const piece = part.subarray(at, newline < 0 ? part.length : newline);
      length += piece.length;
      if (length <= max) held.push(piece);
      else held = [];
      at += piece.length + (newline < 0 ? 0 : 1);
      if (newline < 0 && length <= max && !rest) break;
      yield line(begin + at);
      [start, length, held, rest] = [begin + at, 0, [], newline < 0];
    }
    begin += part.length;
  }
  if (length > 0) yield line(begin);
}

/** Why a line comes to nothing. */
export interface LineError {
  code: string;
  message: string;
  param: string | null;
  line: number;
}

const asked = strictObject({
  custom_id: v.pipe(
    v.string(),
    v.minLength(1, 'must not be empty'),
    v.maxLength(512, 'must be at most 512 characters'),
  ),
  method: v.literal('POST', 'must be POST'),
  url: v.string(),
  body: v.unknown(),
});

/** Whose batch it is, as far as its tasks have to know. */
export interface LineContext extends PrepareContext {
  batch: { id: string; user_id: string; endpoint: string; request_id: string | null };
  maxBytes: number;
  /** What is wrong with a model for this user, as far as that is asked. */
  modelRefusal?: (model: string) => string | undefined;
  /** In how many ms its tasks are not wanted any more. */
  expiresInMs: number;
}

/** The last priority: what others ask for goes first, however many lines there are. */
const PRIORITY = 10;

/** Makes the task of a line, or says what is wrong with it. What it names itself is named in both cases where it can be read. */
export function taskOfLine(
  { text }: Pick<FileLine, 'text'>,
  line: number,
  context: LineContext,
): { custom_id: string | null } & ({ task: NewTask } | { error: LineError }) {
  let custom_id: string | null = null;
  try {
    if (!text) throw new ProblemError('body_too_large', `The line has more than ${context.maxBytes} bytes.`);
    const given = parseText(text);
    const name = (given as { custom_id?: unknown } | null)?.custom_id;
    if (v.is(asked.entries.custom_id, name)) custom_id = name;
    const request = parseBody(asked, given);
    if (request.url !== context.batch.endpoint)
      throw invalid([{ pointer: '#/url', detail: `must be ${context.batch.endpoint}, the endpoint of the batch` }]);
    return { custom_id, task: makeTask(request, context) };
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    const { code, message, param } = describeError(error).body.error;
    return { custom_id, error: { code: code ?? 'invalid_request', message, param, line } };
  }
}

function parseText(text: Buffer): unknown {
  try {
    return parseJson(new TextDecoder('utf-8', { fatal: true }).decode(text));
  } catch (error) {
    const detail =
      error instanceof ProblemError ? error.message.replace('The body', 'The line') : 'The line is not UTF-8.';
    throw new ProblemError('bad_request', detail);
  }
}

function makeTask(request: v.InferOutput<typeof asked>, context: LineContext): NewTask {
  const { batch, expiresInMs } = context;
  const endpoint = ENDPOINTS[batch.endpoint];
  if (!endpoint) throw new Error(`there is no endpoint ${batch.endpoint}`);
  const { input, metadata = {}, tags = [] } = inBody(() => endpoint.request(request.body));
  // The task is found by it, and what a user says of a line is not to be overwritten.
  if (Object.hasOwn(metadata, 'custom_id'))
    throw invalid([{ pointer: '#/body/metadata/custom_id', detail: 'is taken in a batch: the custom_id of the line' }]);
  const refused = context.modelRefusal?.(String((input as { model?: string }).model));
  if (refused !== undefined) throw invalid([{ pointer: '#/body/model', detail: refused }]);
  const prepared = prepareTask(
    {
      type: endpoint.type,
      input,
      priority: PRIORITY,
      metadata: { ...metadata, custom_id: request.custom_id },
      tags,
    },
    {
      ...{ userId: batch.user_id, requestId: batch.request_id, batchId: batch.id },
      ...{ watched: false, usualPriority: PRIORITY, pointer: '#' },
    },
    context,
  );
  if ('errors' in prepared) throw invalid(prepared.errors.map((error) => below(placed(error, endpoint.places))));
  return { ...prepared.task, expires_in_ms: expiresInMs };
}

/** What is wrong in the body of a line, as something wrong in the line. */
function inBody<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof ProblemError && error.errors) throw invalid(error.errors.map(below));
    throw error;
  }
}

function below({ pointer, detail }: FieldError): FieldError {
  return { detail, pointer: `#/body${pointer.slice(1)}` };
}

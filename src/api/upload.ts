import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Busboy, type BusboyFileStream } from '@fastify/busboy';
import type * as v from 'valibot';
import type { Db } from '../db/connect.ts';
import {
  appendToFile,
  createFile,
  deleteFile,
  type FileRow,
  finishFile,
  LEAST_BYTES,
  mayStore,
  PART_BYTES,
} from '../db/files.ts';
import { ProblemError } from '../errors.ts';
import type { Form } from './request.ts';
import { invalid, parseBody } from './validate.ts';

interface Options {
  db: Db;
  /** Of one file, and of all files of a user; 0 is no limit there. */
  files: { maxBytes: number; maxUserBytes: number };
}

type Schema = v.GenericSchema<unknown, unknown>;

/** What stands around a file in a form. */
export const FORM_OVERHEAD_BYTES = 65_536;

/** As file systems have it. */
const MAX_NAME_BYTES = 255;

/**
 * Stores the `file` of a multipart form as it comes, a part at a time: nothing is held whole, and a client that is slow
 * holds no connection of the database. What does not come to its end leaves nothing behind.
 * @param fields the schema of the other fields; a field of a form is a text
 * @param purpose what the file is for
 * @returns the file, which has no name where none came with it, and a `digest` of all that was sent
 * @throws ProblemError where the form or a field is wrong, or the file is too large
 */
export async function receiveFile<S extends Schema>(
  { db, files }: Options,
  form: Form,
  userId: string,
  fields: S,
  purpose: (given: v.InferOutput<S>) => string,
): Promise<{ file: FileRow; fields: v.InferOutput<S>; digest: Buffer }> {
  if ((form.length ?? 0) > files.maxBytes + FORM_OVERHEAD_BYTES) throw tooLarge(files.maxBytes);
  // One without a prototype holds a field of any name, so that each is checked.
  const given: Record<string, string> = Object.create(null);
  const content = createHash('sha256');
  const ending = new AbortController();
  let storing: Promise<FileRow> | undefined;
  let failure: unknown;
  let begun: { id: string } | undefined;
  let reading: BusboyFileStream | undefined;

  function fail(error: unknown): void {
    failure ??= error;
    ending.abort();
    reading?.destroy();
  }

  async function store(stream: BusboyFileStream, filename: string, contentType: string): Promise<FileRow> {
    if (!(await mayStore(db, userId, files.maxUserBytes))) throw filesFull(files.maxUserBytes);
    const file = await begin(db, userId, { filename, contentType, pointer: '#/file' });
    begun = file;
    for await (const part of partsOf(stream)) {
      content.update(part);
      await append(db, file.id, part, files.maxUserBytes);
    }
    if (stream.truncated) throw tooLarge(files.maxBytes);
    return file;
  }

  const busboy = openForm(form.type, files.maxBytes);
  busboy.on('file', (name, stream, filename, _, type) => {
    // What is destroyed on purpose says so to nobody.
    stream.on('error', () => {});
    if (name !== 'file' || storing) {
      stream.resume();
      const detail = storing && name === 'file' ? 'must be one file' : 'is not known here; the file is called file';
      return fail(invalid([{ pointer: `#/${name}`, detail }]));
    }
    reading = stream;
    storing = store(stream, filename ?? '', type);
    storing.catch(fail);
  });
  busboy.on('field', (name, value, _, cut) => {
    if (cut) fail(invalid([{ pointer: `#/${name}`, detail: 'is too long' }]));
    if (Object.hasOwn(given, name)) fail(invalid([{ pointer: `#/${name}`, detail: 'is given twice' }]));
    given[name] = value;
  });
  busboy.on('fieldsLimit', () => fail(invalid([{ pointer: '#', detail: 'has too many fields' }])));

  try {
    await pipeline(Readable.fromWeb(form.body as never), busboy, { signal: ending.signal }).catch((error) =>
      fail(new ProblemError('bad_request', 'The form is not whole.', { cause: error })),
    );
    const file = await storing;
    if (failure !== undefined) throw failure;
    if (!file) throw invalid([{ pointer: '#/file', detail: 'is missing' }]);
    const checked = parseBody(fields, given);
    const finished = await finish(db, file.id, purpose(checked));
    const about = [content.digest('base64'), file.filename, file.content_type, ...Object.entries(given).sort().flat()];
    const digest = createHash('sha256').update(JSON.stringify(about)).digest();
    return { file: finished, fields: checked, digest };
  } catch (error) {
    await storing?.catch(() => {});
    // Where this fails too, it is taken away later.
    if (begun) await deleteFile(db, userId, begun.id).catch(() => {});
    throw failure ?? error;
  }
}

/**
 * Stores a file that is the body itself, in the same way.
 * @throws ProblemError where it is empty, too large, or breaks off
 */
export async function receiveBody(
  { db, files }: Options,
  { type, length, body }: Form,
  userId: string,
  { filename, purpose }: { filename: string; purpose: string },
): Promise<{ file: FileRow; digest: Buffer }> {
  if ((length ?? 0) > files.maxBytes) throw tooLarge(files.maxBytes);
  const { id } = await begin(db, userId, { filename, contentType: type, pointer: '#/filename' });
  try {
    const content = createHash('sha256').update(`${type}\n`);
    let bytes = 0;
    for await (const part of partsOf(whole(body))) {
      bytes += part.length;
      if (bytes > files.maxBytes) throw tooLarge(files.maxBytes);
      content.update(part);
      await append(db, id, part, files.maxUserBytes);
    }
    if (bytes === 0) throw invalid([{ pointer: '#', detail: 'must not be empty' }]);
    return { file: await finish(db, id, purpose), digest: content.digest() };
  } catch (error) {
    // Where this fails too, it is taken away later.
    await deleteFile(db, userId, id).catch(() => {});
    throw error;
  }
}

async function* whole(body: Form['body']): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of Readable.fromWeb((body ?? new Blob([]).stream()) as never)) yield Buffer.from(chunk);
  } catch (cause) {
    throw new ProblemError('bad_request', 'The body is not whole.', { cause });
  }
}

async function begin(
  db: Db,
  userId: string,
  { filename, contentType, pointer }: { filename: string; contentType: string; pointer: string },
): Promise<FileRow> {
  const name = filename.replaceAll(/\p{Cc}/gu, '');
  // A name that was cut would have lost its ending, and might be that of another file.
  if (Buffer.byteLength(name) > MAX_NAME_BYTES)
    throw invalid([{ pointer, detail: `has a name of more than ${MAX_NAME_BYTES} bytes` }]);
  return createFile(db, { userId, filename: name, contentType: contentType.slice(0, 255), purpose: '' });
}

async function append(db: Db, id: string, part: Buffer, maxUserBytes: number): Promise<void> {
  const outcome = await appendToFile(db, id, part, maxUserBytes);
  if (outcome === 'full') throw filesFull(maxUserBytes);
  if (outcome === 'gone') throw tooSlow();
}

async function finish(db: Db, id: string, purpose: string): Promise<FileRow> {
  const finished = await finishFile(db, id, { purpose });
  if (!finished) throw tooSlow();
  return finished;
}

const tooSlow = () => new ProblemError('bad_request', 'The upload took too long.');

function openForm(type: string, maxBytes: number) {
  try {
    return new Busboy({
      headers: { 'content-type': type },
      limits: { fileSize: maxBytes, fields: 50, fieldSize: FORM_OVERHEAD_BYTES },
    });
  } catch (error) {
    throw new ProblemError('bad_request', `The form cannot be read: ${(error as Error).message}`);
  }
}

/** The bytes of a stream in pieces of one size, the last one apart. */
async function* partsOf(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let held: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    held.push(chunk);
    length += chunk.length;
    if (length < PART_BYTES) continue;
    let all = Buffer.concat(held);
    for (; all.length >= PART_BYTES; all = all.subarray(PART_BYTES)) yield all.subarray(0, PART_BYTES);
    held = [all];
    length = all.length;
  }
  if (length > 0) yield Buffer.concat(held);
}

function tooLarge(maxBytes: number): ProblemError {
  return new ProblemError(
    'body_too_large',
    `The file has more than ${maxBytes} bytes. Split it, or ask an operator to raise MAX_FILE_BYTES.`,
    { headers: { Connection: 'close' } },
  );
}

/** A user has as many files as they may have. */
export function filesFull(maxUserBytes: number): ProblemError {
  return new ProblemError(
    'limit_reached',
    `Your files may have ${maxUserBytes} bytes together (MAX_STORED_BYTES_PER_USER), of which each counts ${LEAST_BYTES} at least. Delete some of them first.`,
    { headers: { Connection: 'close' } },
  );
}

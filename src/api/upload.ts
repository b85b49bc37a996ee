import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Busboy, type BusboyFileStream } from '@fastify/busboy';
import type * as v from 'valibot';
import { type FileRow, PART_BYTES } from '../db/files.ts';
import { ProblemError } from '../errors.ts';
import type { Form } from './request.ts';
import { type AlsoFinish, type Begun, createShelf, type Files, NO_SHELF, type Shelf } from './shelf.ts';
import { invalid, parseBody } from './validate.ts';

type MaxBytes = Pick<Files['files'], 'maxBytes'>;

type Schema = v.GenericSchema<unknown, unknown>;

/** What stands around a file in a form. */
export const FORM_OVERHEAD_BYTES = 65_536;

/**
 * Stores the `file` of a multipart form as it comes, a part at a time: nothing is held whole, and a client that is slow
 * holds no connection of the database. What does not come to its end leaves nothing behind.
 * @param fields the schema of the other fields; a field of a form is a text
 * @param purpose what the file is for
 * @param also what is done in the transaction that makes the file be there
 * @returns the file, which has no name where none came with it, and a `digest` of all that was sent
 * @throws ProblemError where the form or a field is wrong, or the file is too large
 */
export function receiveFile<S extends Schema>(
  options: Files,
  form: Form,
  userId: string,
  fields: S,
  purpose: (given: v.InferOutput<S>) => string,
  also?: AlsoFinish,
): Promise<{ file: FileRow; fields: v.InferOutput<S>; digest: Buffer }> {
  return readForm(createShelf(options, userId, also), options.files, form, fields, purpose);
}

/** The `digest` that such a form has; nothing of it is stored. @throws ProblemError as `receiveFile` does */
export async function digestForm(files: MaxBytes, form: Form, fields: Schema): Promise<Buffer> {
  return (await readForm(NO_SHELF, files, form, fields, () => '')).digest;
}

async function readForm<S extends Schema, T>(
  shelf: Shelf<T>,
  { maxBytes }: MaxBytes,
  form: Form,
  fields: S,
  purpose: (given: v.InferOutput<S>) => string,
): Promise<{ file: T; fields: v.InferOutput<S>; digest: Buffer }> {
  if ((form.length ?? 0) > maxBytes + FORM_OVERHEAD_BYTES) throw tooLarge(maxBytes);
  // One without a prototype holds a field of any name, so that each is checked.
  const given: Record<string, string> = Object.create(null);
  const content = createHash('sha256');
  const ending = new AbortController();
  let storing: Promise<Begun> | undefined;
  let failure: unknown;
  let begun: Begun | undefined;
  let reading: BusboyFileStream | undefined;

  function fail(error: unknown): void {
    failure ??= error;
    ending.abort();
    reading?.destroy();
  }

  async function store(stream: BusboyFileStream, filename: string, contentType: string): Promise<Begun> {
    const file = await shelf.begin({ filename, contentType, pointer: '#/file' });
    begun = file;
    for await (const part of partsOf(stream)) {
      content.update(part);
      await shelf.add(file.id, part);
    }
    if (stream.truncated) throw tooLarge(maxBytes);
    return file;
  }

  const busboy = openForm(form.type, maxBytes);
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
    const about = [content.digest('base64'), file.filename, file.content_type, ...Object.entries(given).sort().flat()];
    const digest = createHash('sha256').update(JSON.stringify(about)).digest();
    return { file: await shelf.finish(file.id, purpose(checked), digest), fields: checked, digest };
  } catch (error) {
    await storing?.catch(() => {});
    // Where this fails too, it is taken away later.
    if (begun) await shelf.drop(begun.id).catch(() => {});
    throw failure ?? error;
  }
}

/**
 * Stores a file that is the body itself, in the same way.
 * @throws ProblemError where it is empty, too large, or breaks off
 */
export function receiveBody(
  options: Files,
  form: Form,
  userId: string,
  about: { filename: string; purpose: string },
): Promise<{ file: FileRow; digest: Buffer }> {
  return readBody(createShelf(options, userId), options.files, form, about);
}

/** The `digest` that such a file has; nothing of it is stored. @throws ProblemError as `receiveBody` does */
export async function digestBody(files: MaxBytes, form: Form): Promise<Buffer> {
  return (await readBody(NO_SHELF, files, form, { filename: '', purpose: '' })).digest;
}

async function readBody<T>(
  shelf: Shelf<T>,
  { maxBytes }: MaxBytes,
  { type, length, body }: Form,
  { filename, purpose }: { filename: string; purpose: string },
): Promise<{ file: T; digest: Buffer }> {
  if ((length ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const { id } = await shelf.begin({ filename, contentType: type, pointer: '#/filename' });
  try {
    const content = createHash('sha256').update(`${type}\n`);
    let bytes = 0;
    for await (const part of partsOf(whole(body))) {
      bytes += part.length;
      if (bytes > maxBytes) throw tooLarge(maxBytes);
      content.update(part);
      await shelf.add(id, part);
    }
    if (bytes === 0) throw invalid([{ pointer: '#', detail: 'must not be empty' }]);
    const digest = content.digest();
    return { file: await shelf.finish(id, purpose, digest), digest };
  } catch (error) {
    // Where this fails too, it is taken away later.
    await shelf.drop(id).catch(() => {});
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

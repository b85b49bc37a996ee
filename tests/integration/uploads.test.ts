import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import * as v from 'valibot';
import { expect, it } from 'vitest';
import type { Form } from '../../src/api/request.ts';
import { receiveBody, receiveFile } from '../../src/api/upload.ts';
import {
  appendToFile,
  createFile,
  deleteFile,
  findFile,
  finishFile,
  LEAST_BYTES,
  listFiles,
  mayStore,
  PART_BYTES,
  readFile,
} from '../../src/db/files.ts';
import { prune } from '../../src/db/prune.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { newTask, storeUser, useTasks } from '../support/tasks.ts';

const { database } = useTasks();
const FIELDS = v.strictObject({ purpose: v.string() });
const LIMITS = { maxBytes: 5_000_000, maxUserBytes: 8_000_000 };

async function formOf(parts: Array<[string, string | Blob, string?]>): Promise<Form> {
  const data = new FormData();
  for (const [name, value, filename] of parts)
    if (typeof value === 'string') data.append(name, value);
    else data.append(name, value, filename);
  // A stream of undici's own throws behind our back where it is cancelled.
  const request = new Request('http://localhost', { method: 'POST', body: data });
  return {
    raw: false,
    type: request.headers.get('content-type') ?? '',
    length: undefined,
    body: (await request.blob()).stream(),
  };
}

const upload = (form: Form, limits = LIMITS, userId = database.userId) =>
  receiveFile({ db: database.db, files: limits }, form, userId, FIELDS, ({ purpose }) => purpose);

async function contentOf(id: string, range?: { from?: number; to?: number }): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(readFile(database.db, id, range)));
}

async function counts(): Promise<{ files: number; parts: number }> {
  const { rows } = await sql<{ files: number; parts: number }>`
    select (select count(*)::int from files) as files, (select count(*)::int from file_parts) as parts`.execute(
    database.db,
  );
  return rows[0]!;
}

it('a file is stored in parts as it comes, whatever stands before and behind it, and is read whole or in part', async () => {
  const bytes = randomBytes(2 * PART_BYTES + 12_345);
  const { file, fields } = await upload(
    await formOf([
      ['file', new Blob([bytes], { type: 'application/jsonl' }), 'a/b\u0007c.jsonl'],
      ['purpose', 'batch'],
    ]),
  );
  expect(fields).toEqual({ purpose: 'batch' });
  expect(file).toMatchObject({ filename: 'bc.jsonl', purpose: 'batch', content_type: 'application/jsonl' });
  expect(file).toMatchObject({ bytes: bytes.length, status: 'ready' });
  expect((await counts()).parts).toBe(3);
  expect((await contentOf(file.id)).equals(bytes)).toBe(true);
  for (const [from, to] of [
    [0, 10],
    [PART_BYTES - 5, PART_BYTES + 5],
    [PART_BYTES, 2 * PART_BYTES],
    [bytes.length - 3, bytes.length + 99],
    [bytes.length, bytes.length + 1],
  ] as const)
    expect((await contentOf(file.id, { from, to })).equals(bytes.subarray(from, to)), `${from}–${to}`).toBe(true);

  expect(await findFile(database.db, await storeUser(database.db), file.id)).toBeUndefined();
  expect(await deleteFile(database.db, await storeUser(database.db), file.id)).toBe('gone');
  expect(await deleteFile(database.db, database.userId, file.id)).toBe('deleted');
  expect(await counts()).toEqual({ files: 0, parts: 0 });
  await expect(contentOf(file.id)).rejects.toThrow('not there any more');
});

it('an upload that is refused leaves nothing behind, and says what was wrong', async () => {
  const [small, large] = [new Blob(['x']), new Blob([randomBytes(3_000_000)])];
  const refused = async (parts: Parameters<typeof formOf>[0], limits = LIMITS) =>
    upload(await formOf(parts), limits).then(
      () => 'taken',
      ({ code, errors }) => (errors ? `${errors[0].pointer} ${errors[0].detail}` : code),
    );
  const purpose: [string, string] = ['purpose', 'batch'];
  expect(await refused([purpose])).toBe('#/file is missing');
  expect(await refused([['file', small]])).toBe('#/purpose is missing');
  expect(await refused([purpose, ['file', small], ['colour', 'red']])).toBe('#/colour is not known here');
  expect(await refused([purpose, purpose, ['file', small]])).toBe('#/purpose is given twice');
  expect(await refused([purpose, ['file', small], ['__proto__', 'red']])).toBe(
    '#/__proto__ is a name that cannot be used',
  );
  expect(await refused([['file', small], ['file', small], purpose])).toBe('#/file must be one file');
  expect(await refused([['other', large], purpose])).toMatch('#/other is not known here');
  expect(await refused([['file', large], purpose], { ...LIMITS, maxBytes: 2_000_000 })).toBe('body_too_large');
  expect(await refused([['file', large], purpose], { ...LIMITS, maxUserBytes: 2_000_000 })).toBe('limit_reached');
  expect(await refused([['file', new Blob([])], purpose], { ...LIMITS, maxUserBytes: 60_000 })).toBe('limit_reached');
  const form = await formOf([['file', small], purpose]);
  await expect(upload({ ...form, length: 6_000_000 })).rejects.toMatchObject({ code: 'body_too_large' });
  await expect(upload({ ...form, type: 'multipart/form-data' })).rejects.toMatchObject({ code: 'bad_request' });
  expect(await counts()).toEqual({ files: 0, parts: 0 });
});

it('an upload that breaks off leaves nothing behind, and nothing once its process is gone', async () => {
  const form = await formOf([['file', new Blob([randomBytes(3_000_000)])]]);
  const chunks = await Array.fromAsync(form.body as unknown as AsyncIterable<Uint8Array>);
  const cut = Buffer.concat(chunks).subarray(0, 2_500_000);
  await expect(upload({ ...form, body: new Blob([cut]).stream() })).rejects.toMatchObject({ code: 'bad_request' });
  const gone = new ReadableStream<Uint8Array>({
    start: (to) => to.enqueue(cut),
    pull: (to) => to.error(new Error('the client went away')),
  });
  await expect(upload({ ...form, body: gone })).rejects.toMatchObject({ code: 'bad_request' });
  expect(await counts()).toEqual({ files: 0, parts: 0 });

  const about = { userId: database.userId, filename: 'x', contentType: null, purpose: 'batch' };
  const { id } = await createFile(database.db, about);
  await appendToFile(database.db, id, Buffer.from('begun'));
  expect(await findFile(database.db, database.userId, id)).toBeUndefined();
  await prune(database.db);
  expect((await counts()).files).toBe(1);
  await sql`update files set updated_at = now() - interval '61 minutes'`.execute(database.db);
  await prune(database.db);
  expect(await counts()).toEqual({ files: 0, parts: 0 });
  expect(await appendToFile(database.db, id, Buffer.from('more'))).toBe('gone');
});

it('a document goes once no task is left that could read it, and no other file does', async () => {
  const { db, userId } = database;
  const make = async (purpose: string) => {
    const { id } = await createFile(db, { userId, filename: 'x', contentType: null, purpose });
    await appendToFile(db, id, Buffer.from('x'));
    await finishFile(db, id);
    return id;
  };
  const [orphan, wanted, failed, done, other] = await Promise.all(
    ['document', 'document', 'document', 'document', 'user_data'].map(make),
  );
  const tasks = [wanted, failed, done].map((file_id) =>
    newTask(userId, {
      type: 'document.ingest',
      lane: 'vector',
      input: { collection: 'x', file_id: file_id?.toUpperCase() },
    }),
  );
  await acceptTasks(db, tasks);
  for (const [index, status] of [
    [1, 'failed'],
    [2, 'completed'],
  ] as const)
    await db
      .updateTable('tasks')
      .set({ status, completed_at: new Date() })
      .where('id', '=', tasks[index]!.id)
      .execute();
  const left = async () => {
    await prune(db);
    return (await db.selectFrom('files').select('id').where('user_id', '=', userId).execute()).map(({ id }) => id);
  };
  expect((await left()).toSorted()).toEqual([orphan, wanted, failed, done, other].toSorted());
  await sql`update files set updated_at = now() - interval '61 minutes'`.execute(db);
  expect((await left()).toSorted()).toEqual([wanted, failed, other].toSorted());
  await db.deleteFrom('tasks').execute();
  expect(await left()).toEqual([other]);
  await deleteFile(db, userId, other as string);
});

it('a file that is finished does not change, and the files of a user are listed in pages', async () => {
  const userId = await storeUser(database.db);
  const ids: string[] = [];
  for (const purpose of ['batch', 'user_data', 'batch']) {
    const { id } = await createFile(database.db, { userId, filename: 'x', contentType: null, purpose });
    expect(await appendToFile(database.db, id, Buffer.from('abc'), 3 * LEAST_BYTES)).toBe('added');
    expect((await finishFile(database.db, id))?.bytes).toBe(3);
    expect(await appendToFile(database.db, id, Buffer.from('abc'))).toBe('gone');
    ids.push(id);
  }
  // Each counts something, however small it is.
  expect(await mayStore(database.db, userId, 3 * LEAST_BYTES)).toBe(false);
  expect(await mayStore(database.db, userId, 4 * LEAST_BYTES)).toBe(true);
  const next = await createFile(database.db, { userId, filename: 'x', contentType: null, purpose: 'batch' });
  const add = (bytes: number, room: number) => appendToFile(database.db, next.id, Buffer.alloc(bytes), room);
  expect(await add(LEAST_BYTES, 4 * LEAST_BYTES - 1)).toBe('full');
  expect(await add(LEAST_BYTES, 4 * LEAST_BYTES)).toBe('added');
  expect(await add(1, 4 * LEAST_BYTES)).toBe('full');
  expect(await add(1, 4 * LEAST_BYTES + 1)).toBe('added');
  const list = async (filter: object) =>
    (await listFiles(database.db, userId, { limit: 10, order: 'desc', ...filter })).map(({ id }) => ids.indexOf(id));
  expect(await list({})).toEqual([2, 1, 0]);
  expect(await list({ order: 'asc', after: ids[0] })).toEqual([1, 2]);
  expect(await list({ after: ids[2], limit: 1 })).toEqual([1, 0]);
  expect(await list({ purpose: 'batch' })).toEqual([2, 0]);
});

it('a file whose name has more bytes than one can have is refused, and nothing of it is stored', async () => {
  const before = await counts();
  const named = async (name: string) =>
    upload(
      await formOf([
        ['purpose', 'batch'],
        ['file', new Blob(['x']), name],
      ]),
    );
  await expect(named(`${'ü'.repeat(127)}.md`)).rejects.toMatchObject({
    code: 'validation_failed',
    errors: [{ pointer: '#/file', detail: 'has a name of more than 255 bytes' }],
  });
  const raw = { raw: true, type: 'text/plain', length: 1, body: new Blob(['x']).stream() } as Form;
  await expect(
    receiveBody({ db: database.db, files: LIMITS }, raw, database.userId, { filename: 'a'.repeat(256), purpose: 'x' }),
  ).rejects.toMatchObject({ errors: [{ pointer: '#/filename', detail: 'has a name of more than 255 bytes' }] });
  expect(await counts()).toEqual(before);
  const whole = `${'ü'.repeat(126)}.md`;
  expect((await named(whole)).file.filename).toBe(whole);
});

it('a file whose type holds what cannot be stored is stored without that', async () => {
  const disposition = 'Content-Disposition: form-data; name=';
  const lines = ['--b', `${disposition}"purpose"`, '', 'batch', '--b', `${disposition}"file"; filename="a.txt"`];
  lines.push('Content-Type: text/\u0000plain', '', 'x', '--b--', '');
  const form = { raw: false, type: 'multipart/form-data; boundary=b', body: new Blob([lines.join('\r\n')]).stream() };
  expect((await upload(form as Form)).file.content_type).toBe('text/plain');
});

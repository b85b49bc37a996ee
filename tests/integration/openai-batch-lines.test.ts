import { sql } from 'kysely';
import OpenAI, { toFile } from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readLines } from '../../src/api/openai/batches/lines.ts';
import { writeTask } from '../../src/api/openai/batches/output.ts';
import { breather } from '../../src/api/openai/batches/step-parts.ts';
import { insertBatch, MAX_UNENDED_BATCHES, takeDueBatch } from '../../src/db/batches.ts';
import { appendToFile, createFile, deleteFile, finishFile } from '../../src/db/files.ts';
import { newId } from '../../src/db/ids.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { storeUser, useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const HOURS = 24;

describe('what a batch is made of', () => {
  const { database } = useTasks();

  async function storeFile(parts: string[], userId = database.userId): Promise<string> {
    const about = { userId, filename: 'x', contentType: null, purpose: 'batch' };
    const { id } = await createFile(database.db, about);
    for (const part of parts) await appendToFile(database.db, id, Buffer.from(part));
    await finishFile(database.db, id);
    return id;
  }
  function batchOver(input_file_id: string, user_id = database.userId) {
    const about = { endpoint: '/v1/embeddings', completion_window: '24h', metadata: null, request_id: null };
    return { id: newId(), user_id, key_id: null, input_file_id, ...about };
  }

  it('a file over which a batch is just begun is not deleted', async () => {
    const { db, userId } = database;
    const file = await storeFile(['x']);
    const { deleting } = await db.transaction().execute(async (trx) => {
      await sql`select from files where id = ${file} for key share`.execute(trx);
      const batch = { ...batchOver(file), status: 'validating', expires_at: new Date() } as const;
      await trx.insertInto('batches').values(batch).execute();
      const started = deleteFile(db, userId, file);
      await until('it waits for the file', async () => {
        const { rows } = await sql`select from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`.execute(db);
        return rows.length > 0;
      });
      return { deleting: started };
    });
    expect(await deleting).toBe('in use');
  });

  it('a user has so many batches under way, and those of others go on beside them', async () => {
    const { db, userId } = database;
    const file = await storeFile(['x']);
    const begin = () => insertBatch(db, batchOver(file), HOURS);
    await begin();
    await sql`insert into batches (id, user_id, endpoint, completion_window, status, input_file_id, expires_at)
      select gen_random_uuid(), user_id, endpoint, completion_window, status, input_file_id, expires_at
      from batches, generate_series(3, ${MAX_UNENDED_BATCHES}::int)`.execute(db);
    const both = await Promise.all([begin(), begin()]);
    expect(both.filter((one) => one === 'full')).toHaveLength(1);
    const other = await storeUser(db);
    const theirs = await insertBatch(db, batchOver(await storeFile(['x'], other), other), HOURS);
    const take = (behind: string[]) => db.transaction().execute((trx) => takeDueBatch(trx, [], behind));
    expect((await take([]))?.user_id).toBe(userId);
    expect(await take([userId])).toMatchObject(theirs as object);
    await db.updateTable('batches').set({ status: 'cancelled', step_at: null }).where('user_id', '=', userId).execute();
    expect(await begin()).toMatchObject({ status: 'validating' });
  });

  it('lines are read on from wherever a step ended, within a long one too', async () => {
    const id = await storeFile(['{"a":1}\n\nlo', 'ngggggggg', 'ggg', 'gg\nend\nlonggggggggggg\nla', 'st']);
    const all = await Array.fromAsync(readLines(database.db, id, 0, 8));
    const whole = all.filter(({ rest }) => !rest).map(({ text }) => text?.toString());
    expect(whole).toEqual(['{"a":1}', '', undefined, 'end', undefined, 'last']);
    // Each is told of once, whoever goes on behind it.
    for (const { end } of all) {
      const [before, behind] = [all.filter((one) => one.end <= end), all.filter((one) => one.end > end)];
      const read = await Array.fromAsync(readLines(database.db, id, end, 8));
      expect(read.map(({ text }) => text?.toString())).toEqual(behind.map(({ text }) => text?.toString()));
      expect(read.filter(({ rest }) => !rest).length + before.filter(({ rest }) => !rest).length).toBe(whole.length);
    }
  });

  it('an answer that cannot be told is a line of the error file', () => {
    const task = { id: 'x', status: 'completed', payload_deleted_at: null, output: null, metadata: {}, tags: [] };
    const line = { custom_id: 'a', line: 7, task_id: 'x' };
    const { file, text } = writeTask('/v1/chat/completions', line, task as never);
    expect(file).toBe('error');
    expect(JSON.parse(text)).toMatchObject({ custom_id: 'a', error: { code: 'unreadable_answer', line: 7 } });
  });

  it('long work lets others go on in between', async () => {
    const breathe = breather();
    let others = 0;
    // Two may fall due at once, where this process was kept waiting itself.
    const timer = setInterval(() => {
      if (++others === 3) clearInterval(timer);
    }, 1);
    for (const end = performance.now() + 10_000; others < 3 && performance.now() < end; ) await breathe();
    clearInterval(timer);
    expect(others).toBe(3);
  });
});

describe('lines of a batch', () => {
  let world: World;
  let client: Client;
  let openai: OpenAI;
  beforeAll(async () => {
    world = await createWorld({ env: { BATCH_WINDOW: '2', MAX_BODY_BYTES: '4096' } });
    client = await world.client();
    openai = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: client.token, maxRetries: 0 });
  });
  afterAll(() => world.close());
  afterEach(() => {
    world.ollama.script = undefined;
  });

  const line = (custom_id: string, body: object) => ({ custom_id, method: 'POST', url: '/v1/responses', body });
  const ask = (custom_id: string, more: object = {}) =>
    line(custom_id, { model: 'tinyllama', input: 'hello', ...more });

  async function start(lines: unknown[]) {
    const text = lines.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n');
    const file = await openai.files.create({ file: await toFile(Buffer.from(text), 'in.jsonl'), purpose: 'batch' });
    const asked = { input_file_id: file.id, endpoint: '/v1/responses', completion_window: '24h' } as const;
    return openai.batches.create(asked);
  }
  const ended = (id: string) =>
    until('the batch has ended', async () => {
      const batch = await openai.batches.retrieve(id);
      return ['completed', 'failed', 'cancelled'].includes(batch.status) ? batch : undefined;
    });
  async function read(id: string | null | undefined) {
    const text = await (await openai.files.content(id ?? '')).text();
    const rows = text.trimEnd().split('\n');
    return new Map(rows.map((row) => JSON.parse(row)).map((row) => [row.error?.line ?? row.custom_id, row]));
  }

  it('are told of once each, whatever a model answers and however long they are', async () => {
    world.ollama.script = (_, response) => {
      const message = { role: 'assistant', content: '', tool_calls: [null] };
      sendJson(response, 200, { model: 'tinyllama:latest', message, done: true, done_reason: 'stop' });
      return true;
    };
    const long = `{"custom_id": "${'x'.repeat(3_000_000)}`;
    const { id } = await start([
      ask('twice', { stream: true }),
      ask('twice'),
      long,
      ask('good', { metadata: { a: 'b' } }),
      ask('own', { metadata: { custom_id: 'mine' } }),
      long,
    ]);
    const done = await ended(id);
    expect(done).toMatchObject({ status: 'completed', request_counts: { total: 6, completed: 1, failed: 5 } });
    const good = (await read(done.output_file_id)).get('good');
    const call = { type: 'function_call', name: '', arguments: '{}' };
    expect(good.response.body).toMatchObject({ metadata: { a: 'b' }, output: [call] });
    // What a line is called is what the batch says of it, not what its user gave.
    expect(Object.keys(good.response.body.metadata)).toEqual(['a']);
    const errors = await read(done.error_file_id);
    expect([...errors.keys()].sort()).toEqual([1, 2, 3, 5, 6]);
    expect(errors.get(2)).toMatchObject({ custom_id: 'twice', error: { code: 'duplicate_custom_id' } });
    expect(errors.get(3)).toMatchObject({ custom_id: null, error: { code: 'body_too_large' } });
    expect(errors.get(5)).toMatchObject({ custom_id: 'own', error: { param: 'body.metadata.custom_id' } });
    expect(await world.db.selectFrom('batch_lines').selectAll().execute()).toEqual([]);
  });

  it('that are blank ask for nothing, and those behind them keep their numbers; a file of them alone is empty', async () => {
    const lines = ['', ask('good'), ' \t', '\r', ask('twice'), '', ask('twice'), '{', '', ''];
    const done = await ended((await start(lines)).id);
    expect(done).toMatchObject({ status: 'completed', request_counts: { total: 4, completed: 2, failed: 2 } });
    expect([...(await read(done.error_file_id)).keys()].sort()).toEqual([7, 8]);
    const none = await ended((await start(['', ' ', '\t\r', ''])).id);
    expect(none).toMatchObject({ status: 'failed', errors: { data: [{ code: 'empty_file' }] } });
    expect([none.request_counts, none.error_file_id]).toEqual([{ total: 0, completed: 0, failed: 0 }, null]);
  });

  it('whose file is gone end with what was done', async () => {
    const held: Array<() => void> = [];
    world.ollama.script = () => new Promise((resolve) => held.push(() => resolve(false)));
    const { id, input_file_id } = await start(['1', '2', '3', '4'].map((name) => ask(name)));
    await until('two of them run', () => held.length === 2);
    await world.db.deleteFrom('files').where('id', '=', input_file_id.slice(5)).execute();
    world.ollama.script = undefined;
    for (const answer of held) answer();
    const done = await ended(id);
    expect(done).toMatchObject({ status: 'cancelled', errors: { data: [{ code: 'file_deleted' }] } });
    expect(done.request_counts).toEqual({ total: 4, completed: 2, failed: 2 });
  });

  it('are not taken where their user has too many batches under way, or no room for a file', async () => {
    const { id, input_file_id } = await start([ask('a')]);
    await ended(id);
    await sql`insert into batches (id, user_id, endpoint, completion_window, status, input_file_id, step_at, expires_at)
      select gen_random_uuid(), user_id, endpoint, completion_window, 'validating', input_file_id, 'infinity', expires_at
      from batches, generate_series(1, 100) where id = ${id.slice(6)}`.execute(world.db);
    const again = { input_file_id, endpoint: '/v1/responses', completion_window: '24h' } as const;
    const begin = () => openai.batches.create(again);
    await expect(begin()).rejects.toMatchObject({
      code: 'limit_reached',
      message: expect.stringMatching(/100 batches/),
    });
    await world.db.deleteFrom('batches').where('status', '=', 'validating').execute();
    await world.db.updateTable('files').set({ bytes: '1073741824' }).where('id', '=', input_file_id.slice(5)).execute();
    await expect(begin()).rejects.toMatchObject({ status: 409, message: expect.stringMatching(/MAX_STORED/) });
  });
});

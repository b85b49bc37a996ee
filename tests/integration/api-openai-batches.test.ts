import OpenAI, { toFile } from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setUserLimits } from '../../src/db/limits.ts';
import { updateUser } from '../support/accounts.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

type Batch = OpenAI.Batch;
interface Line {
  id: string;
  custom_id: string | null;
  response: { status_code: number; request_id: string; body: Record<string, unknown> } | null;
  error: { code: string; message: string; param: string | null; line: number } | null;
}

const URL = '/v1/chat/completions';
const ask = (custom_id: string, content = 'hello', body: object = {}) => ({
  ...{ custom_id, method: 'POST', url: URL },
  body: { model: 'tinyllama', messages: [{ role: 'user', content }], ...body },
});
/** A machine that is busy with other tests takes its time over a thousand tasks. */
const PATIENCE = { withinMs: 100_000, everyMs: 200 };
const lines = (all: unknown[]) => all.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n');

describe('a batch by the official client of OpenAI', () => {
  let world: World;
  let client: Client;
  let openai: OpenAI;
  beforeAll(async () => {
    const env = {
      ...{ WORKER_CONCURRENCY: '24', OLLAMA_NUM_PARALLEL: '24' },
      ...{ BATCH_WINDOW: '300', MAX_BATCH_LINES: '1000', MAX_BODY_BYTES: '4096' },
    };
    world = await createWorld({ env });
    // Two that go on with batches at the same time.
    await world.join('api');
    client = await world.client();
    openai = clientOf(client);
  });
  afterAll(() => world.close());
  const held: Array<() => void> = [];
  afterEach(() => {
    world.ollama.script = undefined;
    for (const answer of held.splice(0)) answer();
  });

  /** Answers so many of the calls that say `hold`, and holds the others. */
  function answerFirst(count: number): void {
    let answered = 0;
    world.ollama.script = ({ body }) => {
      const [said] = body.messages as Array<{ content: string }>;
      if (said?.content !== 'hold' || answered++ < count) return false;
      return new Promise((resolve) => held.push(() => resolve(false)));
    };
  }

  const clientOf = (of: Client) => new OpenAI({ baseURL: `${world.url}/v1`, apiKey: of.token, maxRetries: 0 });

  async function start(
    text: string,
    endpoint: OpenAI.BatchCreateParams['endpoint'] = URL,
    as = openai,
  ): Promise<Batch> {
    const file = await as.files.create({ file: await toFile(Buffer.from(text), 'in.jsonl'), purpose: 'batch' });
    return as.batches.create({ input_file_id: file.id, endpoint, completion_window: '24h', metadata: { a: 'b' } });
  }
  const ended = (id: string, as = openai) =>
    until(
      'the batch has ended',
      async () => {
        const batch = await as.batches.retrieve(id);
        const { total, completed = 0, failed = 0 } = batch.request_counts ?? { total: 0 };
        expect(completed + failed).toBeLessThanOrEqual(total);
        return ['completed', 'failed', 'expired', 'cancelled'].includes(batch.status) ? batch : undefined;
      },
      PATIENCE,
    );
  async function read(id: string | null | undefined): Promise<Line[]> {
    if (!id) return [];
    const text = await (await openai.files.content(id)).text();
    expect(text.endsWith('\n')).toBe(true);
    return text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  }
  const rows = (id: string) =>
    world.db.selectFrom('tasks').selectAll().where('batch_id', '=', id.slice('batch_'.length)).execute();

  it('of 1,000 lines with 10 bad ones comes to its end: each line is in one of two files, and each good one was one task', async () => {
    const good = Array.from({ length: 990 }, (_, n) => ask(`good-${n}`, `question ${n}`));
    const bad: Array<[unknown, RegExp]> = [
      ['{"custom_id": "torn', /line is not JSON/],
      ['null', /must be an object/],
      ['[]', /must be an object/],
      [{ ...ask('x'), custom_id: undefined }, /custom_id is missing/],
      [ask('good-7'), /custom_id of one before/],
      [{ ...ask('method'), method: 'GET' }, /method must be POST/],
      [{ ...ask('url'), url: '/v1/embeddings' }, /url must be \/v1\/chat\/completions/],
      [ask('model', 'x', { model: '../../x' }), /body.model must be the name of a model/],
      [ask('stream', 'x', { stream: true }), /body.stream must be false/],
      [ask('long', 'x'.repeat(5_000)), /more than 4096 bytes/],
    ];
    const all: unknown[] = [...good];
    bad.forEach(([line], n) => {
      all.splice(100 * n + 50, 0, ' \r', line);
    });
    const places = new Map(bad.map(([line], n) => [all.indexOf(line) + 1, bad[n]![1]]));
    const batch = await start(lines(all));
    expect(batch).toMatchObject({ object: 'batch', status: 'validating', endpoint: URL, metadata: { a: 'b' } });
    expect(batch.expires_at! - batch.created_at).toBe(86_400);
    // Others are not held up meanwhile.
    const echo = await client.submit('echo', { message: 'x' });
    expect((await client.waitForEnd(echo.id)).status).toBe('completed');

    const done = await ended(batch.id);
    expect(done.status).toBe('completed');
    expect(done.request_counts).toEqual({ total: 1_000, completed: 990, failed: 10 });
    const output = await read(done.output_file_id);
    expect(new Set(output.map(({ custom_id }) => custom_id))).toEqual(new Set(good.map(({ custom_id }) => custom_id)));
    expect(output).toHaveLength(990);
    for (const { response, error } of output) {
      expect(response).toMatchObject({ status_code: 200, body: { object: 'chat.completion' } });
      expect(error).toBeNull();
    }
    const errors = await read(done.error_file_id);
    expect(errors.map(({ error }) => error?.line).sort((a, b) => a! - b!)).toEqual([...places.keys()]);
    for (const { error, response } of errors) {
      expect(response).toBeNull();
      expect(error?.message).toMatch(places.get(error!.line)!);
    }
    expect(errors.find(({ error }) => error?.code === 'duplicate_custom_id')?.custom_id).toBe('good-7');
    expect(errors.find(({ error }) => error?.param === 'body.stream')?.custom_id).toBe('stream');
    const tasks = await rows(batch.id);
    expect(tasks).toHaveLength(990);
    expect(new Set(tasks.map(({ metadata }) => metadata.custom_id)).size).toBe(990);
    expect(tasks.every(({ priority, attempt }) => priority === 10 && attempt === 1)).toBe(true);
    expect(await world.db.selectFrom('batch_lines').selectAll().execute()).toEqual([]);
    // What has ended cannot be cancelled, and its files can go.
    await expect(openai.batches.cancel(batch.id)).rejects.toMatchObject({ status: 409, code: 'batch_ended' });
    await openai.files.delete(batch.input_file_id);
  });

  it('of embeddings answers vectors, and a line that fails is told apart from those that do not', async () => {
    const line = (custom_id: string, body: object) => ({ custom_id, method: 'POST', url: '/v1/embeddings', body });
    world.ollama.script = ({ body }, response) => {
      const refused = [body.input].flat().includes('refuse');
      if (refused) sendJson(response, 400, { error: 'it does not like this' });
      return refused;
    };
    const text = lines([
      line('one', { model: 'all-minilm', input: 'a cat' }),
      line('two', { model: 'all-minilm', input: ['a dog', 'a house'] }),
      line('refused', { model: 'all-minilm', input: 'refuse' }),
      line('base64', { model: 'all-minilm', input: 'x', encoding_format: 'base64' }),
    ]);
    const done = await ended((await start(`${text}\n`, '/v1/embeddings')).id);
    expect(done.request_counts).toEqual({ total: 4, completed: 2, failed: 2 });
    const output = await read(done.output_file_id);
    const bodies = new Map(output.map(({ custom_id, response }) => [custom_id, response?.body]));
    expect(bodies.get('two')).toMatchObject({ object: 'list', data: [{ index: 0 }, { index: 1 }] });
    const errors = new Map((await read(done.error_file_id)).map((one) => [one.custom_id, one]));
    expect(errors.get('refused')).toMatchObject({
      response: { status_code: 400 },
      error: { code: 'upstream_rejected', line: 3 },
    });
    expect(errors.get('base64')).toMatchObject({ response: null, error: { param: 'body.encoding_format', line: 4 } });
  });

  it('that is cancelled in the middle keeps what is done, and tells of each other line that it was not', async () => {
    answerFirst(20);
    const { id, input_file_id } = await start(lines(Array.from({ length: 500 }, (_, n) => ask(`line-${n}`, 'hold'))));
    await until('some are done and others run', async () => {
      const { request_counts } = await openai.batches.retrieve(id);
      return held.length >= 24 && request_counts?.completed === 20;
    });
    await expect(openai.files.delete(input_file_id)).rejects.toMatchObject({ status: 409, code: 'file_in_use' });
    // Never more than the window, so that nobody else has to wait behind all of them.
    expect((await rows(id)).filter(({ completed_at }) => !completed_at).length).toBeLessThanOrEqual(300);
    const counts = (await openai.batches.retrieve(id)).request_counts;
    expect(counts).toEqual({ total: 500, completed: 20, failed: 0 });
    expect((await openai.batches.cancel(id)).status).toBe('cancelling');
    const done = await ended(id);
    expect(done).toMatchObject({ status: 'cancelled', request_counts: { total: 500, completed: 20, failed: 480 } });
    expect(done.cancelled_at).toBeGreaterThanOrEqual(done.cancelling_at!);
    expect(await read(done.output_file_id)).toHaveLength(20);
    const errors = await read(done.error_file_id);
    expect(errors).toHaveLength(480);
    expect(new Set(errors.map(({ error }) => error?.code))).toEqual(new Set(['batch_cancelled']));
    expect((await openai.batches.cancel(id)).status).toBe('cancelled');
    const unended = (await rows(id)).filter(({ completed_at }) => !completed_at);
    expect(unended).toEqual([]);
  });

  it('whose time is over ends as expired, with what is done', async () => {
    answerFirst(3);
    const { id } = await start(lines(Array.from({ length: 10 }, (_, n) => ask(`line-${n}`, 'hold'))));
    await until('some are done', async () => (await openai.batches.retrieve(id)).request_counts?.completed === 3);
    const past = { expires_at: new Date(Date.now() - 1_000), step_at: new Date() };
    await world.db.updateTable('batches').set(past).where('id', '=', id.slice(6)).execute();
    const done = await ended(id);
    expect(done).toMatchObject({ status: 'expired', request_counts: { total: 10, completed: 3, failed: 7 } });
    expect((await read(done.error_file_id)).every(({ error }) => error?.code === 'batch_expired')).toBe(true);
  });

  it('with nothing, or too much, in its file fails as a whole', async () => {
    const empty = await ended((await start('')).id);
    expect(empty).toMatchObject({ status: 'failed', errors: { data: [{ code: 'empty_file', line: null }] } });
    const more = await start(lines(['bad', ...Array.from({ length: 1_000 }, (_, n) => ask(`line-${n}`))]));
    const failed = await ended(more.id);
    expect(failed).toMatchObject({ status: 'failed', errors: { data: [{ code: 'too_many_lines', line: 1_001 }] } });
    expect(failed.request_counts).toEqual({ total: 0, completed: 0, failed: 0 });
    expect(await rows(more.id)).toEqual([]);
    const file = { input_file_id: 'file-01980000-0000-7000-8000-000000000000', endpoint: URL } as const;
    await expect(openai.batches.create({ ...file, completion_window: '24h' })).rejects.toMatchObject({
      ...{ status: 400, param: 'input_file_id' },
    });
  });

  it('takes no more than half of the tasks that its user may have waiting, and stops with the account', async () => {
    const other = await world.client();
    const theirs = clientOf(other);
    await setUserLimits(world.db, other.userId, { waiting_tasks: 9 });
    answerFirst(0);
    const { id } = await start(lines(Array.from({ length: 60 }, (_, n) => ask(`line-${n}`, 'hold'))), URL, theirs);
    // 24 run, and five wait.
    await until('the workers are full', async () => (await rows(id)).length >= 29);
    expect((await rows(id)).filter(({ status }) => status === 'pending')).toHaveLength(5);
    await updateUser(world.db, other.username, { is_active: false });
    world.ollama.script = undefined;
    const its = world.db.selectFrom('batches').selectAll().where('id', '=', id.slice(6));
    const row = await until('it is over', () => its.where('step_at', 'is', null).executeTakeFirst());
    expect(row).toMatchObject({ status: 'cancelled', total: 60, errors: [{ code: 'forbidden' }] });
    expect(row.completed + row.failed).toBe(60);
  });

  it('is listed to its user alone, newest first', async () => {
    const other = await world.client();
    const theirs = clientOf(other);
    const ids: string[] = [];
    for (let n = 0; n < 3; n++) ids.unshift((await start(lines([ask('a')]), URL, theirs)).id);
    const listed = [];
    for await (const { id } of theirs.batches.list({ limit: 2 })) listed.push(id);
    expect(listed).toEqual(ids);
    await expect(openai.batches.retrieve(ids[0]!)).rejects.toMatchObject({ status: 404 });
    await expect(openai.batches.cancel(ids[0]!)).rejects.toMatchObject({ status: 404 });
    for (const id of ids) await ended(id, theirs);
  });
});

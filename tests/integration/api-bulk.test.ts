import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

describe.each(BACKENDS)('steering many tasks on %s', (backend) => {
  let world: World;
  let sink: Sink;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ backend });
    sink = await startSink();
  });
  afterAll(async () => {
    await world.close();
    await sink.close();
  });
  beforeEach(async () => {
    client = await world.client();
  });

  const ask = (body: unknown, by = client, headers: Record<string, string> = {}) =>
    by.request<PresentedTask & { matched: number | null }>('POST', '/api/v1/tasks/bulk', body, headers);
  async function bulk(body: unknown, by = client): Promise<PresentedTask> {
    const answer = await ask(body, by);
    expect([answer.status, answer.body.type], JSON.stringify(answer.body)).toEqual([202, 'task.bulk']);
    return by.waitForEnd(answer.body.id);
  }
  const read = async (id: string, by = client) => (await by.request<PresentedTask>('GET', `/api/v1/tasks/${id}`)).body;
  const later = (tag: string, more = {}) =>
    client.submit('echo', { message: 'x' }, { tags: [tag], delay_seconds: 600, ...more });
  /** How many jobs are there that wait for nothing; they are taken away. */
  async function orphans(): Promise<number> {
    const before = world.running.reconciler.repairs().orphans;
    return (await world.running.reconciler.runOnce()).orphans - before;
  }
  async function attempts(id: string): Promise<number> {
    return (await client.request<{ data: unknown[] }>('GET', `/api/v1/tasks/${id}/attempts`)).body.data.length;
  }

  it('cancels what the filter chooses, takes the jobs away, tells webhooks, and says how many it was', async () => {
    const webhook = { url: sink.url };
    const chosen = [await later('night'), await later('night', { webhook }), await later('night')];
    const [other, ended] = [await later('day'), await client.runTask('echo', { message: 'x' }, { tags: ['night'] })];
    const stranger = await world.client();
    const foreign = await stranger.submit('echo', { message: 'x' }, { tags: ['night'], delay_seconds: 600 });
    const done = await bulk({ action: 'cancel', filter: { tag: 'night' } });
    expect(done).toMatchObject({ status: 'completed', output: { matched: 3, changed: 3, skipped: 0, failed: 0 } });
    expect(done.input).toEqual({ action: 'cancel', filter: { tag: 'night' } });
    for (const { id } of chosen)
      expect(await read(id)).toMatchObject({ status: 'cancelled', cancel_reason: `by ${client.username}` });
    expect((await read(other.id)).status).toBe('scheduled');
    expect(await read(ended.id)).toEqual(ended);
    expect((await read(foreign.id, stranger)).status).toBe('scheduled');
    await until('the message', () => sink.received.some(({ body }) => body.includes(chosen[1]?.id ?? '-')));
    expect(await orphans()).toBe(0);
    expect(await bulk({ action: 'cancel', filter: { tag: 'night' } })).toMatchObject({ output: { matched: 0 } });
  });

  it('cancels what runs too', async () => {
    world.ollama.script = (_, response) => void response.writeHead(200) === undefined;
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', { messages: [{ role: 'user', content: 'hi' }] }, { tags: ['run'] });
    const call = await called;
    expect(await bulk({ action: 'cancel', filter: { tag: 'run' } })).toMatchObject({ output: { changed: 1 } });
    expect(await call.closedEarly).toBe(true);
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'cancelled' });
    world.ollama.script = undefined;
  });

  it('runs each ended task again once, also where the bulk itself is run twice', async () => {
    const ids = [];
    for (let n = 0; n < 3; n++) ids.push((await client.runTask('echo', { message: 'x' }, { tags: ['again'] })).id);
    const forgotten = (await client.runTask('echo', { message: 'x' }, { tags: ['again'] })).id;
    await sql`update tasks set payload_deleted_at = now() where id = ${forgotten}`.execute(world.db);
    const done = await bulk({ action: 'retry', filter: { tag: 'again', status: 'completed,failed' } });
    expect(done.output).toEqual({ matched: 4, changed: 3, skipped: 1, failed: 0 });
    for (const id of ids) expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', attempt: 2 });
    await client.request('POST', `/api/v1/tasks/${done.id}/retry`);
    expect(await client.waitForEnd(done.id)).toMatchObject({ attempt: 2, output: { matched: 1, changed: 0 } });
    for (const id of ids) expect(await attempts(id)).toBe(2);
    // What ended since is for a new one.
    expect(await bulk({ action: 'retry', filter: { tag: 'again' } })).toMatchObject({ output: { changed: 3 } });
  });

  it('runs dead letters again with a fresh budget', async () => {
    const { id } = await client.submit('echo', { message: 'x' }, { tags: ['killer'], delay_seconds: 600 });
    await sql`update tasks set status = 'running', attempt = 3, losses = 2, lease_until = now() - interval '1 second'
      where id = ${id}`.execute(world.db);
    await world.running.reconciler.runOnce();
    expect(await read(id)).toMatchObject({ status: 'failed', error: { code: 'poison' } });
    expect(await bulk({ action: 'retry', filter: { status: 'failed', tag: 'killer' } })).toMatchObject({
      output: { changed: 1 },
    });
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', attempt: 4, error: null });
    const row = await world.db.selectFrom('tasks').select(['losses', 'failures']).where('id', '=', id).execute();
    expect(row).toEqual([{ losses: 0, failures: 0 }]);
  });

  it('deletes what is in ended tasks, and leaves the others', async () => {
    const ended = await client.runTask('echo', { message: 'x' }, { tags: ['gone'] });
    const waiting = await later('gone');
    expect(await bulk({ action: 'delete', filter: { tag: 'gone' } })).toMatchObject({ output: { changed: 1 } });
    expect(await read(ended.id)).toMatchObject({ input: null, payload_deleted_at: expect.any(String) });
    expect(await read(waiting.id)).toMatchObject({ input: { message: 'x' }, payload_deleted_at: null });
  });

  it('leaves other bulks, itself, and what is submitted later alone', async () => {
    const first = await bulk({ action: 'cancel', filter: { tag: 'nothing' } });
    expect(await bulk({ action: 'retry', filter: { type: 'task.bulk' } })).toMatchObject({ output: { matched: 0 } });
    expect(await bulk({ action: 'delete', all: true })).toMatchObject({
      output: { matched: 0 },
      input: { filter: {} },
    });
    expect(await read(first.id)).toMatchObject({ attempt: 1, payload_deleted_at: null });
  });

  it('wants a filter, or that it is said that all are meant', async () => {
    for (const [body, pointer] of [
      [{ action: 'cancel' }, '#/filter'],
      [{ action: 'cancel', filter: {} }, '#/filter'],
      [{ action: 'cancel', filter: { tag: 'x' }, all: true }, '#/all'],
      [{ action: 'cancel', all: false }, '#/all'],
      [{ action: 'cancel', filter: { status: 'done' } }, '#/filter/status/0'],
      [{ action: 'cancel', filter: { user_id: 'x' } }, '#/filter/user_id'],
      [{ action: 'pause', filter: { tag: 'x' } }, '#/action'],
      [{ action: 'cancel', filter: { tag: 'x' }, owner: 'me' }, '#/owner'],
    ] as const)
      expect(pointersOf(expectProblem(await ask(body), 'validation_failed')), JSON.stringify(body)).toEqual([pointer]);
    await later('all');
    expect(await bulk({ action: 'cancel', all: true })).toMatchObject({ output: { changed: 1 } });
  });

  it('says beforehand how many tasks it would be for', async () => {
    for (let n = 0; n < 3; n++) await later('dry');
    const dry = await ask({ action: 'cancel', filter: { tag: 'dry' }, dry_run: true });
    expect([dry.status, dry.body]).toEqual([200, { matched: 3 }]);
    expect((await ask({ action: 'retry', filter: { tag: 'dry' }, dry_run: true })).body).toEqual({ matched: 0 });
    expect(await bulk({ action: 'cancel', filter: { tag: 'dry' } })).toMatchObject({ output: { changed: 3 } });
  });

  it('is made once with an Idempotency-Key, and only by its own route', async () => {
    const key = { 'idempotency-key': 'bulk-once' };
    const first = await ask({ action: 'cancel', filter: { tag: 'key' } }, client, key);
    const again = await ask({ action: 'cancel', filter: { tag: 'key' } }, client, key);
    expect([again.body.id, again.headers.get('idempotency-replayed')]).toEqual([first.body.id, 'true']);
    const task = { type: 'task.bulk', input: { action: 'cancel', filter: {} } };
    const refused = await client.request('POST', '/api/v1/tasks', task);
    expect(pointersOf(expectProblem(refused, 'validation_failed'))).toEqual(['#/type']);
    await client.waitForEnd(first.body.id);
    const edited = await client.request('POST', `/api/v1/tasks/${first.body.id}/retry`, { input: task.input });
    expect(pointersOf(expectProblem(edited, 'validation_failed'))).toEqual(['#/type']);
    expect(JSON.stringify((await client.request('GET', '/api/v1/task-types')).body)).not.toContain('task.bulk');
  });

  it('keeps to the limit of waiting tasks when it runs tasks again', async () => {
    for (let n = 0; n < 4; n++) await client.runTask('echo', { message: 'x' }, { tags: ['many'] });
    const limits = { waiting_tasks: 2, running_tasks: null, tokens_per_day: null, requests_per_minute: null };
    await world.db
      .insertInto('user_limits')
      .values({ user_id: client.userId, ...limits })
      .execute();
    const { output } = await bulk({ action: 'retry', filter: { tag: 'many' } });
    expect(output).toEqual({ matched: 4, changed: 2, skipped: 0, failed: 2 });
  });

  it('can be cancelled in the middle, and then changes nothing more', async () => {
    const rows = Array.from({ length: 3_000 }, () => ({
      type: 'echo',
      input: { message: 'x' },
      delay_seconds: 600,
      tags: ['big'],
    }));
    for (let n = 0; n < 3; n++)
      await client.request('POST', '/api/v1/tasks/batch', { tasks: rows.slice(n * 1_000, (n + 1) * 1_000) });
    const left = async () =>
      Number(
        (
          await sql<{
            n: string;
          }>`select count(*) as n from tasks where status = 'scheduled' and user_id = ${client.userId}`.execute(
            world.db,
          )
        ).rows[0]?.n,
      );
    expect(await left()).toBe(3_000);
    const { body } = await ask({ action: 'cancel', filter: { tag: 'big' } });
    await until('a first page', async () => (await left()) < 3_000, { everyMs: 2 });
    await client.request('POST', `/api/v1/tasks/${body.id}/cancel`);
    expect(await client.waitForEnd(body.id)).toMatchObject({ status: 'cancelled', output: null });
    // A page that was under way may still be written.
    const after = await until('it has stopped', async () => {
      const before = await left();
      await new Promise((resolve) => setTimeout(resolve, 300));
      return before === (await left()) && before;
    });
    expect(after).toBeGreaterThan(0);
    const rest = await bulk({ action: 'cancel', filter: { tag: 'big' } });
    expect(rest).toMatchObject({ output: { matched: after, changed: after }, progress: { percent: 100 } });
    expect(await orphans()).toBe(0);
  });
});

import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem } from '../support/problem.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

const chat = { messages: [{ role: 'user', content: 'hi' }] };

describe('deleting a task', () => {
  let world: World;
  let client: Client;
  let sink: Sink;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
    sink = await startSink();
  });
  afterAll(async () => {
    await world.close();
    await sink.close();
  });
  afterEach(() => {
    world.ollama.script = undefined;
    sink.answer = undefined;
  });

  const remove = (id: string, by = client) => by.request('DELETE', `/api/v1/tasks/${id}`);
  const read = async (id: string) => (await client.request<PresentedTask>('GET', `/api/v1/tasks/${id}`)).body;
  const auditOf = (id: string) =>
    world.db.selectFrom('audit_log').select(['action', 'actor_name', 'details']).where('object_id', '=', id).execute();

  /** The tables of the database in which this text stands. */
  async function tablesWith(text: string): Promise<string[]> {
    const { rows } = await sql<{ name: string }>`
      select format('%I.%I', schemaname, tablename) as name from pg_tables
      where schemaname not in ('pg_catalog', 'information_schema')`.execute(world.db);
    const found = [];
    for (const { name } of rows) {
      const asked = sql.raw(`select 1 from ${name} as t where t::text ilike '%${text}%' limit 1`);
      if ((await sql`${asked}`.execute(world.db)).rows.length > 0) found.push(name);
    }
    return found;
  }

  it('takes away whatever its user wrote and whatever came of it, from all tables, and keeps how it ran', async () => {
    const mark = 'MARKOFTHEUSER';
    sink.answer = (_, response) => void response.writeHead(200).end(`thanks for ${mark}`);
    const webhook = { url: `${sink.url}?${mark}`, events: ['task.failed'] };
    const more = { title: `${mark} title`, tags: [mark], metadata: { note: mark }, max_attempts: 1, webhook };
    world.ollama.script = (_, response) => {
      response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error: `no ${mark}` }));
      return true;
    };
    const failed = await client.runTask('chat', { messages: [{ role: 'user', content: mark }] }, more);
    expect(failed.error).toMatchObject({ code: 'upstream_rejected', message: expect.stringContaining(mark) });
    await until('the delivery', async () => {
      const { rows } = await sql`select 1 from delivery_attempts where response is not null`.execute(world.db);
      return rows.length === 1;
    });
    const echoed = await client.runTask('echo', { message: mark }, { title: mark });
    expect(await tablesWith(mark)).toEqual(expect.arrayContaining(['public.tasks', 'public.attempts']));

    for (const { id } of [failed, echoed]) {
      expect(await remove(id)).toMatchObject({ status: 204, body: '' });
      expect(await remove(id)).toMatchObject({ status: 204, body: '' });
    }
    // Where messages went to stays with the log of them.
    await sql`update deliveries set url = replace(url, ${mark}, '')`.execute(world.db);
    expect(await tablesWith(mark)).toEqual([]);
    const { error, payload_deleted_at, ...rest } = await read(failed.id);
    expect(rest).toMatchObject({ status: 'failed', attempt: 1, type: 'chat', created_at: failed.created_at });
    expect(rest).toMatchObject({ title: null, input: null, output: null, metadata: {}, tags: [], progress: null });
    expect(error).toEqual({ ...failed.error, message: expect.stringContaining('deleted') });
    expect(Date.parse(String(payload_deleted_at))).toBeGreaterThan(Date.parse(String(failed.completed_at)));
    const { body } = await client.request<{ data: object[] }>('GET', `/api/v1/tasks/${failed.id}/attempts`);
    expect(body.data).toMatchObject([{ attempt: 1, outcome: 'failed', error: { code: 'upstream_rejected' } }]);
    expect(await auditOf(failed.id)).toEqual([]);
  });

  it('cannot be made undone by a retry, with or without an input', async () => {
    const { id } = await client.runTask('echo', { message: 'x' });
    await remove(id);
    for (const body of [undefined, {}, { input: { message: 'y' } }])
      expectProblem(await client.request('POST', `/api/v1/tasks/${id}/retry`, body), 'payload_deleted');
    expect(await read(id)).toMatchObject({ status: 'completed', attempt: 1 });
  });

  it('is refused while the task waits or runs, and changes nothing', async () => {
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const before = await read(id);
    expect(expectProblem(await remove(id), 'task_running').detail).toContain('scheduled');
    expect(await read(id)).toEqual(before);
    world.ollama.script = (_, response) => void response.writeHead(200) === undefined;
    const called = world.ollama.nextCall('/api/chat');
    const running = await client.submit('chat', chat);
    await called;
    expect(expectProblem(await remove(running.id), 'task_running').detail).toContain('running');
    await client.request('POST', `/api/v1/tasks/${running.id}/cancel`);
    await client.waitForEnd(running.id);
    expect((await remove(running.id)).status).toBe(204);
  });

  it('leaves messages that are still on the way, which then go out without what was deleted', async () => {
    const [first, rest] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    sink.received.length = 0;
    sink.answer = async (n, response) => {
      if (n === 0) first.resolve();
      await rest.promise;
      response.writeHead(n === 0 ? 500 : 204).end();
    };
    const { id } = await client.runTask(
      'echo',
      { message: 'gone soon' },
      { title: 'gone too', webhook: { url: sink.url } },
    );
    await first.promise;
    expect((await remove(id)).status).toBe(204);
    rest.resolve();
    const message = await until('the second attempt', () => sink.received[1]);
    expect(message.body).not.toMatch(/gone/);
    expect(JSON.parse(message.body)).toMatchObject({
      type: 'task.completed',
      data: { id, status: 'completed', output: null },
    });
    expect(message.headers['webhook-id']).toBe(sink.received[0]?.headers['webhook-id']);
  });

  it('is for operators too, which is written down, and not for viewers or strangers', async () => {
    const { id } = await client.runTask('echo', { message: 'x' });
    const operator = await world.client('operator');
    expectProblem(await remove(id, await world.client('viewer')), 'forbidden');
    expectProblem(await remove(id, await world.client()), 'not_found');
    const { body } = await operator.request<{ key: string }>('POST', '/api/v1/api-keys', {
      name: 'reads all, deletes its own',
      scopes: ['tasks:read', 'tasks:read:any', 'tasks:delete'],
    });
    expectProblem(await remove(id, anonymousClient(world.url, body.key)), 'not_found');
    expect(await read(id)).toMatchObject({ input: { message: 'x' }, payload_deleted_at: null });
    expect((await remove(id, operator)).status).toBe(204);
    expect((await remove(id, operator)).status).toBe(204);
    expect(await read(id)).toMatchObject({ input: null });
    expect(await auditOf(id)).toEqual([
      { action: 'task.delete', actor_name: operator.username, details: { owner: client.userId } },
    ]);
  });
});

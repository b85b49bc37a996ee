import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Explanation } from '../../src/api/shapes/explanation.ts';
import { newId } from '../../src/db/ids.ts';
import { markLines } from '../../src/db/tasks/place.ts';
import { beatWorker } from '../../src/db/workers.ts';
import { turnOf } from '../../src/queues/turn.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const chat = (model?: string) => ({ messages: [{ role: 'user', content: 'x' }], ...(model ? { model } : {}) });
const MINUTE = 60_000;

describe('a task that waits while no worker is there', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    // What waits in a backlog has no exact place.
    world = await createWorld({ mode: 'api', env: { QUEUE_JOBS_MAX: '0' } });
    client = await world.client();
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    for (const table of ['tasks', 'workers', 'lane_minutes', 'line_marks', 'paused_lanes'])
      await sql`delete from ${sql.table(table)}`.execute(world.db);
  });

  const explain = async (id: string, by = client) =>
    (await by.request<Explanation>('GET', `/api/v1/tasks/${id}/explain`)).body;
  const position = async (id: string) =>
    (await client.request<PresentedTask>('GET', `/api/v1/tasks/${id}`)).body.queue_position;
  const submit = (more = {}) => client.submit('echo', { message: 'x' }, more);
  /** A worker that says so and takes nothing. */
  const worker = (more: Partial<Parameters<typeof beatWorker>[1]> = {}, done: Parameters<typeof beatWorker>[2] = []) =>
    beatWorker(
      world.db,
      {
        name: newId(),
        version: '0',
        lanes: { system: { concurrency: 2, running: 2 }, llm: { concurrency: 2, running: 2 } },
        down: [],
        loading: [],
        started_at: new Date(),
        ...more,
      },
      done,
    );

  it('hears that no worker serves its queue, until one says that it does', async () => {
    const { id } = await submit();
    expect(await explain(id)).toEqual({
      ...{ status: 'pending', position: 1, position_is_exact: true, expected_start: null, not_before: null },
      reason: 'no_worker',
      detail: expect.stringContaining('system'),
    });
    await worker({ lanes: { llm: { concurrency: 2, running: 0 } } });
    expect((await explain(id)).reason).toBe('no_worker');
    await worker();
    expect((await explain(id)).reason).toBe('ahead_in_queue');
    await sql`update workers set seen_at = now() - interval '21 seconds'`.execute(world.db);
    expect((await explain(id)).reason).toBe('no_worker');
  });

  it('is counted in the order in which tasks are given out', async () => {
    const made = await Promise.all(Array.from({ length: 40 }, (_, n) => submit({ priority: 1 + ((n * 7) % 10) })));
    const later = await submit({ delay_seconds: 600 });
    await client.submit('chat', chat());
    const rows = made.map(({ id, priority }, n) => ({
      id,
      priority,
      // Hours apart, and some in the same turn.
      ready_at: new Date(Date.now() - ((n * 37) % 97) * MINUTE - n),
      queued_at: null,
    }));
    for (const { id, ready_at } of rows)
      await world.db.updateTable('tasks').set({ ready_at }).where('id', '=', id).execute();
    const aging = 600_000;
    const order = rows.toSorted(
      (a, b) => turnOf(a, aging) - turnOf(b, aging) || a.ready_at.getTime() - b.ready_at.getTime(),
    );
    expect(await Promise.all(order.map(({ id }) => position(id)))).toEqual(order.map((_, n) => n + 1));
    expect(await position(later.id)).toBeNull();
    const listed = await client.request<{ data: PresentedTask[] }>('GET', '/api/v1/tasks');
    expect(new Set(listed.body.data.map(({ queue_position }) => queue_position))).toEqual(new Set([null]));
  });

  it('is estimated where more than a thousand are before it', async () => {
    // In its first round the reconciler marks lines too, and then for half a minute no more.
    await until('the first round', () => world.running.reconciler.repairs().rounds > 0);
    const { id } = await submit();
    await sql`
      insert into tasks (id, user_id, type, lane, status, priority, input, max_attempts, timeout_ms, ready_at)
      select gen_random_uuid(), ${client.userId}, 'echo', 'system', 'pending', 1 + n % 10, '{"message":"x"}', 3, 1000,
        now() - interval '1 day' - n * interval '1 millisecond'
      from generate_series(1, 23456) as n`.execute(world.db);
    await worker();
    expect(await explain(id)).toMatchObject({ position: null, expected_start: null, reason: 'ahead_in_queue' });
    await markLines(world.db);
    const { position: place, position_is_exact, detail } = await explain(id);
    expect(position_is_exact).toBe(false);
    expect(place).toBeGreaterThanOrEqual(21_000);
    expect(place).toBeLessThanOrEqual(26_000);
    expect(detail).toContain('About 2');
    expect(await position(id)).toBe(place);
  });

  it('is told when it will probably start, by how long the runs before took', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 9; n++) ids.push((await submit()).id);
    await worker();
    expect((await explain(ids[8]!)).expected_start).toBeNull();
    // 100 runs of 10 s, one half of them 1 s shorter and the other 1 s longer.
    const run_ms_squared = 50 * 9_000 ** 2 + 50 * 11_000 ** 2;
    const done = {
      lane: 'system' as const,
      started: 100,
      completed: 98,
      failed: 2,
      runs: 100,
      run_ms: 1_000_000,
      run_ms_squared,
    };
    await worker({ lanes: { system: { concurrency: 1, running: 1 } } }, [done]);
    const asked = Date.now();
    const { expected_start } = await explain(ids[8]!);
    const answered = Date.now();
    // Nine have to end over three slots: 30 s, give or take two deviations, 2 · 1 s · √9 / 3.
    for (const [time, seconds] of [
      [expected_start?.likely, 30],
      [expected_start?.earliest, 28],
      [expected_start?.latest, 32],
    ] as const) {
      const now = Date.parse(String(time)) - seconds * 1_000;
      expect(now).toBeGreaterThan(asked - 500);
      expect(now).toBeLessThan(answered + 500);
    }
    const operator = await world.client('operator');
    const queues = await operator.request<{ data: Array<{ name: string; throughput: object }> }>(
      'GET',
      '/api/v1/monitoring/queues',
    );
    expect(queues.body.data.find(({ name }) => name === 'system')?.throughput).toMatchObject({
      started_per_minute: expect.closeTo(18, -1),
      mean_run_ms: 10_000,
    });
  });

  it('hears of one reason: that which would hold it back without the others', async () => {
    const { id } = await client.submit('chat', chat('tinyllama'));
    const other = (await client.submit('chat', chat())).id;
    const reasons = async () => [(await explain(id)).reason, (await explain(other)).reason];
    await worker({ loading: [{ model: 'tinyllama:latest', requested: true }] });
    expect(await reasons()).toEqual(['model_loading', 'ahead_in_queue']);
    await sql`update workers set loading = '[{"model": "big:7b", "requested": false}]'`.execute(world.db);
    expect(await reasons()).toEqual(['ahead_in_queue', 'model_loading']);
    await sql`update workers set down = '[{"dependency": "ollama", "model": "tinyllama:latest"}]'`.execute(world.db);
    expect(await reasons()).toEqual(['dependency_down', 'model_loading']);
    await sql`update workers set down = '[{"dependency": "ollama", "model": null}]'`.execute(world.db);
    expect(await reasons()).toEqual(['dependency_down', 'dependency_down']);
    // Another worker gets through.
    await worker();
    expect((await reasons())[0]).toBe('ahead_in_queue');
    await world.db.insertInto('paused_lanes').values({ lane: 'llm', paused_by: null }).execute();
    expect(await reasons()).toEqual(['queue_paused', 'queue_paused']);
  });

  it('that is not due hears when it is, and one that does not wait why not', async () => {
    const { id } = await submit({ delay_seconds: 600 });
    const told = await explain(id);
    expect(told).toMatchObject({ status: 'scheduled', reason: 'scheduled', position: null, expected_start: null });
    expect(Date.parse(String(told.not_before)) - Date.now()).toBeGreaterThan(590_000);
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    expect(await explain(id)).toMatchObject({
      status: 'cancelled',
      reason: null,
      detail: expect.stringContaining('/retry'),
    });
  });

  it('says nothing of the input of others to those who may not see it', async () => {
    const { id } = await client.submit('chat', chat('secret-model'));
    await worker({ down: [{ dependency: 'ollama', model: 'secret-model:latest' }] });
    expect(JSON.stringify(await explain(id))).toContain('secret-model');
    expect(JSON.stringify(await explain(id, await world.client('operator')))).not.toContain('secret-model');
  });

  it('answers with the ETag of its place, to HEAD as to GET', async () => {
    const { id } = await submit();
    const ask = (method: string, tag = '') =>
      client.request(method, `/api/v1/tasks/${id}`, undefined, tag ? { 'if-none-match': tag } : {});
    const first = await ask('GET');
    const tag = first.headers.get('etag') ?? '';
    expect(tag).toMatch(/^"[\w-]+"$/);
    const head = await ask('HEAD');
    expect([head.status, head.headers.get('etag'), head.body]).toEqual([200, tag, '']);
    for (const given of [tag, `W/${tag}`, `"other", ${tag}`, '*']) {
      expect([(await ask('GET', given)).status, (await ask('HEAD', given)).status]).toEqual([304, 304]);
    }
    await submit({ priority: 10 });
    expect((await ask('GET', tag)).status).toBe(304);
    await world.db
      .updateTable('tasks')
      .set({ ready_at: new Date(Date.now() - 100 * MINUTE) })
      .where('id', '!=', id)
      .execute();
    const behind = await ask('GET', tag);
    expect([behind.status, behind.body.queue_position]).toEqual([200, 2]);
  });
});

import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { addAgent } from '../support/add-agent.ts';
import { addCollection } from '../support/add-collection.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { echo, HOURLY, type Schedule, setBack, useSchedules } from '../support/schedules.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

describe('schedules that tick', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ env: { MAX_SCHEDULES_PER_USER: '5' } });
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    client = await world.client();
  });

  const { post, make, read, patch, tasksOf } = useSchedules(() => client);

  it('starts one task a tick, in time, and shows the last and the next', async () => {
    const made = await make({ name: 'each second', every_seconds: 1, task: { ...echo, tags: ['ticked'] } });
    const grid = Date.parse(made.next_run_at as string) % 1_000;
    const tasks = await until('three ticks', async () => {
      const all = await tasksOf(made.id);
      return all.length >= 3 && all;
    });
    await patch(made.id, { enabled: false });
    for (const task of tasks) {
      const tick = Date.parse(task.scheduled_for as unknown as string);
      expect(tick % 1_000).toBe(grid);
      const late = Date.parse(task.created_at as unknown as string) - tick;
      expect(late).toBeGreaterThanOrEqual(0);
      expect(late).toBeLessThan(900);
      expect(task.tags).toEqual(['ticked']);
    }
    expect(new Set(tasks.map(({ scheduled_for }) => scheduled_for)).size).toBe(tasks.length);
    expect((await client.waitForEnd(tasks[0]!.id)).status).toBe('completed');
    const after = await read(made.id);
    const last = (await tasksOf(made.id))[0]!;
    expect(after).toMatchObject({
      last_task_id: last.id,
      last_run_at: last.scheduled_for,
      missed: 0,
      last_error: null,
    });
    expect([after.next_run_at, after.next_runs]).toEqual([null, []]);
  });

  it('shows a schedule as it was made, and the next three runs', async () => {
    const body = { name: ' nightly ', cron: '30 2 * * *', timezone: 'Europe/Berlin', catch_up: 'skip' };
    const { status, headers, body: made } = await post({ ...body, task: { ...echo, priority: 3 } });
    expect(status).toBe(201);
    expect(headers.get('location')).toBe(`${world.url}/api/v1/schedules/${made.id}`);
    expect(made).toMatchObject({
      ...{ ...body, name: 'nightly', every_seconds: null, enabled: true, missed: 0, last_run_at: null },
      task: { ...echo, priority: 3, metadata: {}, tags: [] },
    });
    expect(made.next_runs).toHaveLength(3);
    expect(made.next_runs[0]).toBe(made.next_run_at);
    expect(await read(made.id)).toEqual(made);
    const list = await client.request<{ data: Schedule[] }>('GET', '/api/v1/schedules');
    expect(list.body.data).toEqual([made]);
  });

  it('catches missed ticks up once, or not at all', async () => {
    const one = await make();
    const skip = await make({ ...HOURLY, catch_up: 'skip' });
    for (const { id } of [one, skip]) await setBack(world.db, id, 4.5 * 3_600_000);
    const caughtUp = await until('it is moved on', async () => {
      const now = await read(one.id);
      return now.missed > 0 && now;
    });
    const skipped = await until('it is moved on', async () => {
      const now = await read(skip.id);
      return now.missed > 0 && now;
    });
    expect(caughtUp.missed).toBe(3);
    expect((await tasksOf(one.id)).map(({ id }) => id)).toEqual([caughtUp.last_task_id]);
    expect(skipped).toMatchObject({ missed: 4, last_task_id: null, last_error: null });
    expect(await tasksOf(skip.id)).toEqual([]);
    // Both stay on their grid.
    for (const { next_run_at } of [caughtUp, skipped]) {
      const next = Date.parse(next_run_at as string) - Date.now();
      expect(next).toBeGreaterThan(1_500_000);
      expect(next).toBeLessThan(1_900_000);
    }
  });

  it('treats what comes while it is switched off like what was missed', async () => {
    const made = await make();
    await patch(made.id, { enabled: false });
    await setBack(world.db, made.id, 2.5 * 3_600_000);
    // One that ticks beside it shows that the processes have looked at what is due, twice.
    const beside = await make({ every_seconds: 1, task: echo });
    await until('two ticks beside it', async () => (await tasksOf(beside.id)).length >= 2);
    await patch(beside.id, { enabled: false });
    expect(await read(made.id)).toMatchObject({ missed: 0, last_task_id: null, next_run_at: null });
    expect((await patch(made.id, { enabled: true })).status).toBe(200);
    await until('one task for all of them', async () => (await tasksOf(made.id)).length === 1);
    expect(await read(made.id)).toMatchObject({ missed: 1, enabled: true });
  });

  it('counts from now again where another time is set', async () => {
    const made = await make();
    const { body } = await patch(made.id, { cron: '0 0 1 1 *', name: null });
    expect(body).toMatchObject({ cron: '0 0 1 1 *', every_seconds: null, name: null, missed: 0 });
    expect(body.next_run_at).toMatch(/-01-01T00:00:00.000Z$/);
    const zone = await patch(made.id, { timezone: 'Asia/Tokyo' });
    expect(zone.body.next_run_at).toMatch(/-12-31T15:00:00.000Z$/);
    const back = await patch(made.id, { every_seconds: 60, task: { ...echo, input: { message: 'other' } } });
    expect(back.body).toMatchObject({ cron: null, every_seconds: 60, task: { input: { message: 'other' } } });
    expect(Math.abs(Date.parse(back.body.next_run_at as string) - Date.now() - 60_000)).toBeLessThan(5_000);
  });

  it('starts the task now when it is asked to, beside its ticks', async () => {
    const made = await make();
    const headers = { 'idempotency-key': newId() };
    const run = () => client.request<PresentedTask>('POST', `/api/v1/schedules/${made.id}/run`, undefined, headers);
    const [first, second] = [await run(), await run()];
    expect([first.status, second.status, second.headers.get('idempotency-replayed')]).toEqual([202, 202, 'true']);
    expect(second.body.id).toBe(first.body.id);
    expect(first.body).toMatchObject({ schedule_id: made.id, scheduled_for: null });
    expect((await client.waitForEnd(first.body.id)).status).toBe('completed');
    expect(await read(made.id)).toMatchObject({ next_run_at: made.next_run_at, last_task_id: null });
  });

  it('keeps the secret of the webhook sealed, shows one that it made once, and signs with it', async () => {
    const webhook = { url: 'http://127.0.0.1:9/hook' };
    const made = await make({ ...HOURLY, task: { ...echo, webhook } });
    expect(made.webhook_secret).toMatch(/^whsec_/);
    expect(JSON.stringify(await read(made.id))).not.toContain('whsec_');
    const { body: task } = await client.request<PresentedTask>('POST', `/api/v1/schedules/${made.id}/run`);
    await client.waitForEnd(task.id);
    const deliveries = await world.db.selectFrom('deliveries').selectAll().where('task_id', '=', task.id).execute();
    expect(deliveries.map(({ url }) => url)).toEqual([webhook.url]);
    const stored = JSON.stringify(
      await world.db.selectFrom('schedules').selectAll().where('id', '=', made.id).execute(),
    );
    expect(stored).not.toContain(made.webhook_secret?.slice(6));
    const given = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
    const changed = await patch(made.id, { task: { ...echo, webhook: { ...webhook, secret: given } } });
    expect(JSON.stringify(changed.body)).not.toContain('whsec_');
  });

  it('says why a tick started no task, and never holds up the others', async () => {
    const good = await make();
    const gone = await make();
    const bad = await make();
    const spoil = (id: string, more: object) =>
      world.db
        .updateTable('schedules')
        .set({ task: JSON.stringify({ ...gone.task, ...more }) })
        .where('id', '=', id)
        .execute();
    await spoil(gone.id, { type: 'no.such.type' });
    await spoil(bad.id, { input: { message: 5 } });
    // What this process does not know is left to others for half a minute.
    for (const { id } of [gone, bad, good]) await setBack(world.db, id, 3_600_000 + 31_000);
    await until('the good one ticks', async () => (await tasksOf(good.id)).length === 1);
    const errorOf = (id: string) => until('it says why', async () => (await read(id)).last_error);
    expect(await errorOf(gone.id)).toMatchObject({
      code: 'validation_failed',
      message: expect.stringContaining('#/task/type is not a task type'),
    });
    expect(await errorOf(bad.id)).toMatchObject({
      code: 'validation_failed',
      message: expect.stringContaining('#/task/input/message'),
    });
    expect((await errorOf(bad.id))?.at).toMatch(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/);
    expect(await read(bad.id)).toMatchObject({ missed: 1, last_task_id: null, next_run_at: expect.any(String) });
    expect(await tasksOf(bad.id)).toEqual([]);
  });

  it('checks its task like any submission: when it is made or changed, at each tick, and when it is started by hand', async () => {
    const search = (vector: number[]) => ({ type: 'vector.search', input: { collection: 'raw', vector } });
    const known = await make({ ...HOURLY, task: search([1, 2]) });
    const agent = await addAgent(world, { name: 'helper', endpoint: 'http://127.0.0.1:9' });
    const helped = await make({ ...HOURLY, task: { ...echo, agent_id: agent } });
    await addCollection(world, { name: 'raw', userId: client.userId, dimensions: 3 });
    await world.db.updateTable('agents').set({ is_active: false }).where('id', '=', agent).execute();
    const wrong = { ...HOURLY, task: search([1]) };
    for (const answer of [await post(wrong), await patch(helped.id, wrong)])
      expect(pointersOf(expectProblem(answer, 'validation_failed'))).toEqual(['#/task/input/vector']);
    for (const [{ id }, pointer] of [
      [known, '#/task/input/vector'],
      [helped, '#/task/agent_id'],
    ] as const) {
      const started = await client.request('POST', `/api/v1/schedules/${id}/run`);
      expect(pointersOf(expectProblem(started, 'validation_failed'))).toEqual([pointer]);
      await setBack(world.db, id, 3_600_000);
      const refused = await until('it says why', async () => (await read(id)).last_error);
      expect(refused).toMatchObject({ code: 'validation_failed', message: expect.stringContaining(pointer) });
      expect(await tasksOf(id)).toEqual([]);
    }
  });

  it.each([
    [
      'account_disabled',
      (db: World['db'], id: string) => sql`update users set is_active = false where id = ${id}`.execute(db),
    ],
    ['forbidden', (db: World['db'], id: string) => sql`update users set role = 'viewer' where id = ${id}`.execute(db)],
    [
      'quota-exceeded',
      (db: World['db'], id: string) =>
        sql`insert into user_limits (user_id, waiting_tasks) values (${id}, 1)`.execute(db),
    ],
  ])('respects what its owner may at the time of the tick: %s', async (code, limit) => {
    const made = await make();
    await client.submit('echo', { message: 'waits' }, { delay_seconds: 600 });
    await limit(world.db, client.userId);
    await setBack(world.db, made.id, 3_600_000);
    const row = await until('it says why', async () => {
      const found = await world.db
        .selectFrom('schedules')
        .selectAll()
        .where('id', '=', made.id)
        .executeTakeFirstOrThrow();
      return found.last_error && found;
    });
    expect(row).toMatchObject({ last_error: { code }, missed: 1, last_task_id: null });
  });

  it('skips a tick whose concurrency key is taken, and takes the place of the last run where the policy says so', async () => {
    const keyed = (policy: string) => ({ ...HOURLY, task: { ...echo, concurrency_key: { key: policy, policy } } });
    const [reject, cancel] = [await make(keyed('reject')), await make(keyed('cancel_running'))];
    const blocks: string[] = [];
    for (const policy of ['reject', 'cancel_running'])
      blocks.push(
        (await client.submit('echo', { message: 'x' }, { delay_seconds: 600, concurrency_key: { key: policy } })).id,
      );
    for (const { id } of [reject, cancel]) await setBack(world.db, id, 3_600_000);
    await until('it is refused', async () => (await read(reject.id)).last_error?.code === 'concurrency_limit');
    await until('it starts', async () => (await read(cancel.id)).last_task_id);
    const second = await client.request<PresentedTask>('GET', `/api/v1/tasks/${blocks[1]}`);
    expect(second.body).toMatchObject({ status: 'cancelled', cancel_reason: 'superseded' });
  });
});

import { sql } from 'kysely';
import { afterEach, describe, expect, it } from 'vitest';
import type { Explanation } from '../../src/api/shapes/explanation.ts';
import { openNotifications } from '../../src/db/notify.ts';
import { BACKLOG_CHANNEL } from '../../src/db/tasks/backlog.ts';
import { createLog } from '../../src/log.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const FRONT = 6;

describe.each(BACKENDS)('users of one queue on %s', (backend) => {
  let world: World | undefined;
  afterEach(async () => {
    await world?.close();
    world = undefined;
  });

  /** A world in which nobody works on the tasks yet. */
  async function open(env: Record<string, string> = {}) {
    const made = await createWorld({
      ...{ backend, mode: 'start' as const },
      env: { QUEUE_JOBS_MAX: String(FRONT), WORKER_LANES: 'webhook', ...env },
    });
    world = made;
    const rows = () => made.db.selectFrom('tasks').selectAll().orderBy('id').execute();
    return { ...made, rows, ended: async () => (await rows()).every(({ completed_at }) => completed_at !== null) };
  }

  async function heap(client: Client, count: number, more: object = {}): Promise<string[]> {
    const tasks = Array.from({ length: count }, (_, n) => ({ type: 'echo', input: { message: `${n}` }, ...more }));
    const answer = await client.request<{ tasks: PresentedTask[] }>('POST', '/api/v1/tasks/batch', { tasks });
    expect(answer.status).toBe(202);
    return answer.body.tasks.map(({ id }) => id);
  }

  it('take turns: a single task goes before the heap of another user, of which few have a job', async () => {
    const { rows, ended, join, client, running, db } = await open();
    const [heavy, light] = [await client(), await client()];
    const ids = await heap(heavy, 80);
    expect((await rows()).filter(({ held_by }) => held_by === 'lane').length).toBe(80 - FRONT);
    const single = await light.submit('echo', { message: 'x' });
    await until('it has a job', async () => (await rows()).find(({ id, called }) => id === single.id && called));
    const urgent = await heavy.submit('echo', { message: 'x' }, { priority: 1 });
    await until('it has one too', async () => (await rows()).find(({ id, called }) => id === urgent.id && called));
    const waiting = (await rows()).filter(({ held_by, called }) => held_by === null || called);
    expect(waiting.length).toBeLessThanOrEqual(2 * FRONT);

    const explained = await heavy.request<Explanation>('GET', `/api/v1/tasks/${ids.at(-1)}/explain`);
    expect(explained.body).toMatchObject({ reason: 'no_worker', position_is_exact: false });
    expect(explained.body.position).toBeGreaterThanOrEqual(80);
    const admin = await client('admin');
    const queues = await admin.request<{ data: Array<{ name: string; counts: Record<string, number> }> }>(
      'GET',
      '/api/v1/monitoring/queues',
    );
    expect(queues.body.data.find(({ name }) => name === 'system')?.counts.pending).toBe(82);

    await join('worker', { WORKER_LANES: 'system', WORKER_CONCURRENCY: '1' });
    await until('all have ended', ended, { withinMs: 20_000 });
    const all = (await rows()).toSorted((a, b) => a.started_at!.getTime() - b.started_at!.getTime());
    expect(all.slice(0, FRONT + 2).map(({ id }) => id)).toEqual(expect.arrayContaining([urgent.id, single.id]));
    expect(all[0]?.id).toBe(urgent.id);
    expect(all.map(({ status, generation, attempt }) => `${status} ${generation} ${attempt}`)).toEqual(
      Array.from({ length: 82 }, () => 'completed 0 1'),
    );
    expect((await running.reconciler.runOnce()).rebuilt).toBe(0);
    await until('the worker has told what they cost', async () => {
      const costs = await db.selectFrom('user_costs').select('user_id').execute();
      return costs.some(({ user_id }) => user_id === heavy.userId);
    });
  });

  it('may cancel, delay, pause and let expire what waits without a job, as anything else', async () => {
    const { rows, ended, join, client, db } = await open();
    const user = await client();
    const operator = await client('operator');
    await heap(user, FRONT);
    const [gone, late] = await heap(user, 2);
    const expired = await user.submit('echo', { message: 'x' }, { expires_in_seconds: 1 });
    const delayed = await user.submit('echo', { message: 'x' }, { delay_seconds: 2 });
    expect((await rows()).filter(({ held_by }) => held_by === 'lane').map(({ id }) => id)).toEqual([
      gone,
      late,
      expired.id,
      delayed.id,
    ]);
    expect((await user.request('POST', `/api/v1/tasks/${gone}/cancel`)).status).toBe(200);
    await until('it has expired', async () => (await rows()).find(({ status }) => status === 'expired'));
    await operator.request('POST', '/api/v1/monitoring/queues/system/pause');
    const worker = await join('worker', { WORKER_LANES: 'system', WORKER_CONCURRENCY: '2' });
    await until('the delayed one is due', async () =>
      (await rows()).find(({ id, status }) => id === delayed.id && status === 'pending'),
    );
    expect((await rows()).filter(({ started_at }) => started_at !== null)).toEqual([]);
    await operator.request('POST', '/api/v1/monitoring/queues/system/resume');
    await until('all have ended', ended, { withinMs: 20_000 });
    const counts = Map.groupBy(await rows(), ({ status }) => status);
    expect([...counts].map(([status, own]) => `${own.length} ${status}`).sort()).toEqual([
      '1 cancelled',
      '1 expired',
      '8 completed',
    ]);
    expect((await worker.reconciler.runOnce()).orphans).toBe(0);
    expect(await db.selectFrom('attempts').selectAll().execute()).toHaveLength(8);
  });

  it('have workflows, schedules and repeated tasks that go on behind a heap', async () => {
    const { rows, ended, join, client } = await open({ QUEUE_JOBS_MAX: '1' });
    const [heavy, light] = [await client(), await client()];
    const old = await heap(heavy, 20, { tags: ['old'] });
    await join('worker', { WORKER_LANES: 'system', WORKER_CONCURRENCY: '1' });
    await until('the first heap has ended', ended, { withinMs: 20_000 });
    await heap(heavy, 100);
    const workflow = await light.submit('workflow', {
      steps: ['a', 'b', 'c'].map((id) => ({ id, type: 'echo', input: { message: id } })),
    });
    const schedule = await light.request<{ id: string }>('POST', '/api/v1/schedules', {
      ...{ name: 'now and then', every_seconds: 3_600, task: { type: 'echo', input: { message: 'x' } } },
    });
    expect(schedule.status, JSON.stringify(schedule.body)).toBe(201);
    expect((await light.request('POST', `/api/v1/schedules/${schedule.body.id}/run`)).status).toBeLessThan(300);
    await heavy.request('POST', '/api/v1/tasks/bulk', { action: 'retry', filter: { tag: 'old' } });
    expect((await light.waitForEnd(workflow.id)).status).toBe('completed');
    await until('all have ended', ended, { withinMs: 60_000 });
    const all = await rows();
    expect(all.filter(({ status }) => status !== 'completed')).toEqual([]);
    expect(all.filter(({ id }) => old.includes(id)).every(({ attempt }) => attempt === 2)).toBe(true);
  });

  it('lose nothing when the process that lets tasks to the front is gone', async () => {
    const { rows, ended, join, client, db, databaseUrl } = await open();
    const other = await join('api');
    await heap(await client(), 60);
    const heard: string[] = [];
    const notifications = await openNotifications(databaseUrl, [BACKLOG_CHANNEL], createLog('silent'));
    notifications.on(BACKLOG_CHANNEL, (payload) => heard.push(payload));
    await join('worker', { WORKER_LANES: 'system', WORKER_CONCURRENCY: '8' });
    // It finds no job now and then, because few come to the front together.
    await until('a worker said so', () => heard.includes('some system'));
    await notifications.close();
    await until('some have ended', async () => (await rows()).some(({ status }) => status === 'completed'));
    // As a network does that is cut off: whoever led hears nothing of it before it asks.
    await sql`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = (
      select oid from pg_database where datname = current_database())`.execute(db);
    await until('all have ended', ended, { withinMs: 20_000 });
    expect((await other.reconciler.runOnce()).orphans).toBe(0);
    expect((await rows()).map(({ status, attempt }) => `${status} ${attempt}`)).toEqual(Array(60).fill('completed 1'));
  });
});

import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROLE_PERMISSIONS } from '../../src/api/policy.ts';
import { createTaskMaker } from '../../src/api/scheduled-task.ts';
import { newId } from '../../src/db/ids.ts';
import { createLog } from '../../src/log.ts';
import { createTicker, type MakeTask, type Ticker } from '../../src/schedules/ticker.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { createRegistry } from '../../src/tasks/index.ts';
import { compareRowsAndJobs } from '../support/agreement.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Lanes, openLanes } from '../support/lanes.ts';
import { spawnSutazai } from '../support/process.ts';
import { storeUser } from '../support/tasks.ts';
import { until } from '../support/until.ts';
import { BACKENDS, createWorld, type World } from '../support/world.ts';

const echo = { type: 'echo', input: { message: 'tick' }, metadata: {}, tags: [], priority: 5 };

describe('ticks of several processes', () => {
  let database: TestDatabase;
  let lanes: Lanes;
  beforeAll(async () => {
    database = await createTestDatabase();
    lanes = await openLanes('postgres', database);
  });
  afterAll(async () => {
    await lanes.close();
    await database.close();
  });

  const registry = createRegistry({ vectors: false });
  const box = createSecretBox(Buffer.alloc(32, 7).toString('base64'));
  const make = createTaskMaker({ registry, box, checkUrl: () => undefined });

  /** One process's ticker, which does nothing by itself. */
  const openTicker = (more: { make?: MakeTask; types?: string[] } = {}): Ticker =>
    createTicker({
      ...{ ...lanes, workflows: { advance() {} }, db: database.db, make, types: ['echo'], ...more },
      maySubmit: (role) => ROLE_PERMISSIONS[role].has('tasks:create'),
      limits: { waiting_tasks: 0, tokens_per_day: 0 },
      log: createLog('silent'),
      everyMs: 3_600_000,
    });

  /** Schedules of every hour whose tick came `lateMs` ago. */
  async function makeDue(count: number, { lateMs = 1_000, task = echo as object } = {}): Promise<string[]> {
    const userId = await storeUser(database.db);
    const ids = Array.from({ length: count }, () => newId());
    for (const id of ids)
      await sql`insert into schedules (id, user_id, every_seconds, timezone, enabled, catch_up, task, starts_at, next_run_at)
        values (${id}, ${userId}, 3600, 'UTC', true, 'one', ${JSON.stringify(task)}::json,
          now() - (3600000 + ${lateMs}::int) * interval '1 millisecond', now() - ${lateMs}::int * interval '1 millisecond')`.execute(
        database.db,
      );
    return ids;
  }
  const tasksOf = (id: string) =>
    database.db.selectFrom('tasks').select(['id', 'scheduled_for']).where('schedule_id', '=', id).execute();
  const read = (id: string) =>
    database.db.selectFrom('schedules').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

  it('give one task a tick, however many look at the same moment, and each task has its job', async () => {
    const tickers = Array.from({ length: 3 }, () => openTicker());
    for (let round = 0; round < 5; round++) {
      const ids = await makeDue(10);
      const looked = await Promise.all(tickers.map((ticker) => ticker.tick()));
      expect(looked.reduce((sum, count) => sum + count)).toBe(10);
      for (const id of ids) expect(await tasksOf(id)).toHaveLength(1);
    }
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual({ lacking: [], orphaned: [] });
    for (const ticker of tickers) await ticker.close();
  });

  it('take the job of a task away that a tick took the place of', async () => {
    const ticker = openTicker();
    const task = { ...echo, concurrency_key: { key: newId(), limit: 1, policy: 'cancel_running' } };
    const ids = await makeDue(2, { task });
    await ticker.tick();
    const tasks = await database.db.selectFrom('tasks').select('status').where('schedule_id', 'in', ids).execute();
    expect(tasks.map(({ status }) => status).sort()).toEqual(['cancelled', 'pending']);
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual({ lacking: [], orphaned: [] });
    await ticker.close();
  });

  it('store no second task for a tick, even where the schedule was set back', async () => {
    const ticker = openTicker();
    const [id = ''] = await makeDue(1);
    const before = await read(id);
    await ticker.tick();
    await database.db.updateTable('schedules').set({ next_run_at: before.next_run_at }).where('id', '=', id).execute();
    await ticker.tick();
    expect(await tasksOf(id)).toHaveLength(1);
    expect((await read(id)).last_error).toMatchObject({ code: 'internal_error' });
    await ticker.close();
  });

  it('go on with the others where one fails, and move nothing of that one', async () => {
    const [bad = '', ...good] = await makeDue(3);
    const before = await read(bad);
    const ticker = openTicker({
      make: async (schedule, db) => {
        if (schedule.id === bad) throw new Error('broken');
        return make(schedule, db);
      },
    });
    await ticker.tick();
    for (const id of good) expect(await tasksOf(id)).toHaveLength(1);
    expect(await tasksOf(bad)).toEqual([]);
    expect(await read(bad)).toMatchObject({
      next_run_at: before.next_run_at,
      last_error: { code: 'internal_error', message: 'Internal error' },
    });
    await ticker.close();
  });

  it('leave what is due to others once their process stops', async () => {
    const ids = await makeDue(40);
    const ticker = openTicker();
    const looking = ticker.tick();
    await ticker.close();
    expect(await looking).toBeLessThan(5);
    const other = openTicker();
    await other.tick();
    for (const id of ids) expect(await tasksOf(id)).toHaveLength(1);
    await other.close();
  });

  it('leave a type that they do not know to a process that does, for half a minute', async () => {
    const [fresh = ''] = await makeDue(1, { task: { ...echo, type: 'newer' } });
    const [old = ''] = await makeDue(1, { task: { ...echo, type: 'newer' }, lateMs: 31_000 });
    const ticker = openTicker();
    await ticker.tick();
    expect(await read(fresh)).toMatchObject({ missed: 0, last_error: null });
    expect(await read(old)).toMatchObject({ missed: 1, last_error: { code: 'validation_failed' } });
    await ticker.close();
  });
});

describe.each(BACKENDS)('schedules on %s', (backend) => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ backend, env: { LEASE_SECONDS: '2' } });
  });
  afterAll(() => world.close());

  it('tick once and miss nothing while processes that tick are killed again and again', async () => {
    const client = await world.client();
    const env = { ...world.env, LOG_LEVEL: 'error' };
    let killing = true;
    const killed = Array.from({ length: 2 }, async () => {
      let kills = 0;
      while (killing) {
        const process = spawnSutazai(['worker'], env);
        await until('it is up', () => /is up/.test(process.output()));
        await new Promise((resolve) => setTimeout(resolve, 700 * Math.random()));
        await process.kill('SIGKILL');
        kills++;
      }
      return kills;
    });
    const made: Array<{ id: string; next_run_at: string }> = [];
    for (let n = 0; n < 4; n++) {
      const body = { every_seconds: 1, task: { type: 'echo', input: { message: String(n) } } };
      made.push((await client.request<(typeof made)[number]>('POST', '/api/v1/schedules', body)).body);
    }
    const ticksOf = async (id: string) =>
      (await world.db.selectFrom('tasks').select('id').where('schedule_id', '=', id).execute()).length;
    await until('seven ticks of each', async () =>
      (await Promise.all(made.map(({ id }) => ticksOf(id)))).every((ticks) => ticks >= 7),
    );
    for (const { id } of made) await client.request('PATCH', `/api/v1/schedules/${id}`, { enabled: false });
    killing = false;
    expect((await Promise.all(killed)).reduce((sum, count) => sum + count)).toBeGreaterThan(1);
    for (const { id, next_run_at } of made) {
      const tasks = await world.db
        .selectFrom('tasks')
        .select(['id', 'scheduled_for'])
        .where('schedule_id', '=', id)
        .orderBy('scheduled_for')
        .execute();
      const ticks = tasks.map(({ scheduled_for }) => (scheduled_for as Date).getTime());
      const { missed } = (await client.request<{ missed: number }>('GET', `/api/v1/schedules/${id}`)).body;
      expect(new Set(ticks).size).toBe(ticks.length);
      // Every second has its task, or stands among those that were missed when this machine had no time.
      const all = ((ticks.at(-1) ?? 0) - Date.parse(next_run_at)) / 1_000 + 1;
      expect(ticks.length + missed).toBe(all);
      expect(ticks.length).toBeGreaterThanOrEqual(4);
      for (const task of tasks) expect((await client.waitForEnd(task.id)).status).toBe('completed');
    }
  });
});

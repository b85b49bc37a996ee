import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Db } from '../../src/db/connect.ts';
import { acceptTasks, type NewTask } from '../../src/db/tasks/accept.ts';
import { callBacklog, readFronts, readLaneStates, readLines } from '../../src/db/tasks/backlog.ts';
import { callNext } from '../../src/db/tasks/holds.ts';
import { type ClaimedTask, claimTasks } from '../../src/db/tasks/run.ts';
import { cancelTask } from '../../src/db/tasks/steer.ts';
import { parseJobId } from '../../src/queues/job-id.ts';
import { findPlace } from '../../src/queues/place.ts';
import { BASE_MS, turnOf } from '../../src/queues/turn.ts';
import { compareRowsAndJobs } from '../support/agreement.ts';
import { createRounds, storeBacklog } from '../support/backlog.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Lanes, openLanes } from '../support/lanes.ts';
import { LEASE_MS, newTask, storeUser } from '../support/tasks.ts';
import { BACKENDS } from '../support/world.ts';

const AGREED = { lacking: [], orphaned: [] };
const AGING_MS = 600_000;

describe.each(BACKENDS)('the backlog of a lane on %s', (kind) => {
  let database: TestDatabase;
  let lanes: Lanes;
  let heavy: string;
  let light: string;
  beforeEach(async () => {
    database = await createTestDatabase();
    lanes = await openLanes(kind, database, { agingMs: AGING_MS });
    [heavy, light] = [await storeUser(database.db), await storeUser(database.db)];
  });
  afterEach(async () => {
    await lanes.close();
    await database.close();
  });

  const read = (id: string) =>
    database.db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  const held = async (userId: string, more: Partial<NewTask> = {}) =>
    (await acceptTasks(database.db, [newTask(userId, { held: true, ...more })]))[0]!.id;

  /** The users of the jobs in the lane, in the order in which they would run. */
  async function line(): Promise<string[]> {
    const ids = (await lanes.backend.firstJobs('system', 1_000)).map((id) => parseJobId(id)!.id);
    const rows =
      ids.length === 0 ? [] : await database.db.selectFrom('tasks').selectAll().where('id', 'in', ids).execute();
    return ids.map((id) => (rows.find((row) => row.id === id)?.user_id === heavy ? 'heavy' : 'light'));
  }

  /** A worker takes the first so many. */
  async function run(count: number): Promise<ClaimedTask[]> {
    const jobs = (await lanes.backend.firstJobs('system', count)).map((id) => parseJobId(id)!);
    const claimed = await claimTasks(database.db, 'w', LEASE_MS, jobs);
    await Promise.all(jobs.map((job) => lanes.dispatcher.remove({ ...job, lane: 'system' })));
    return claimed.flatMap((task) => task ?? []);
  }

  it('lets the first come to the front, and a single task of another user before them, however much the one has waiting', async () => {
    await storeBacklog(database.db, heavy, 20_000);
    const round = createRounds(database.db, lanes.dispatcher);
    expect(await round.run()).toEqual({ admitted: 4, lanes: ['system'], hurry: true });
    expect(await round.run()).toEqual({ admitted: 0, lanes: ['system'], hurry: false });
    const id = await held(light);
    expect((await findPlace(database.db, await read(id), AGING_MS))!.position).toBeLessThanOrEqual(6);

    await round.run();
    expect(await line()).toEqual(['heavy', 'light', 'heavy', 'heavy', 'heavy']);
    expect((await read(id)).generation).toBe(0);
    // The one that was first of its user is the only one that is not overtaken.
    const ran = await run(2);
    expect(ran.map((task) => task.id)).toContain(id);
    // Who waits without a job waits.
    expect(Math.max(...ran.map(({ waited_seconds }) => waited_seconds))).toBeGreaterThan(3_000);
    await round.run();
    expect(await line()).toEqual(['heavy', 'heavy', 'heavy', 'heavy']);
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual(AGREED);
    expect((await lanes.reconciler.runOnce()).rebuilt).toBe(0);
  });

  it('asks of the rows no more than it takes to find the next of each user', async () => {
    await storeBacklog(database.db, heavy, 20_000);
    await storeBacklog(database.db, light, 20_000, 7);
    await sql`analyze tasks`.execute(database.db);
    const touched = async (db: Db) => {
      const { rows } = await sql<{
        n: number;
      }>`select sum(pg_stat_get_xact_tuples_returned(oid))::int as n from pg_class
        where oid = 'tasks'::regclass or oid in (select indexrelid from pg_index where indrelid = 'tasks'::regclass)`.execute(
        db,
      );
      return rows[0]!.n;
    };
    await database.db.transaction().execute(async (trx) => {
      const found = await readLines(trx, ['system'], [], 64);
      expect(found.map(({ priority, user_id }) => `${priority} ${user_id}`)).toEqual([`5 ${heavy}`, `7 ${light}`]);
      const calls = found.map(({ user_id, priority }) => ({ user_id, priority, ago_ms: [0], place: [0] }));
      expect(
        await callBacklog(
          trx,
          calls.map((call) => ({ ...call, lane: 'system' as const })),
        ),
      ).toHaveLength(2);
      await readFronts(trx, ['system'], { fromMs: 0, ms: 1_000 }, 1_000);
      await readLaneStates(trx, ['system'], 1_000);
      expect(await touched(trx)).toBeLessThan(100);
    });
  });

  it('shares the front between users who all have much, by what their tasks cost', async () => {
    await storeBacklog(database.db, heavy, 200);
    await storeBacklog(database.db, light, 200);
    await sql`insert into user_costs (lane, user_id, type, runs, cost) values
      ('system', ${heavy}, 'echo', 10, 3000), ('system', ${light}, 'echo', 10, 1000)`.execute(database.db);
    const round = createRounds(database.db, lanes.dispatcher, { pace: { slots: 20, mean_ms: null } });
    round.learn([], new Map([['system', 200]]), new Set());
    await round.run();
    const counts = Map.groupBy(await line(), (user) => user);
    expect([counts.get('heavy')?.length, counts.get('light')?.length]).toEqual([10, 30]);
  });

  it('gives back its jobs, in their order, after the queue store was emptied, and no more than that', async () => {
    await storeBacklog(database.db, heavy, 50);
    await storeBacklog(database.db, light, 50);
    await createRounds(database.db, lanes.dispatcher, { pace: { slots: 10, mean_ms: null } }).run();
    const before = await lanes.backend.firstJobs('system', 1_000);
    expect(before).toHaveLength(20);
    // What is counted in front is what stands there: also those who went to the head of their class.
    const inFront = await database.db.selectFrom('tasks').selectAll().where('called', '=', true).execute();
    const ms = AGING_MS / 2;
    const counted = (await readFronts(database.db, ['system'], { fromMs: BASE_MS, ms }, 1_000)).flatMap(
      ({ step, count }) => Array<Date>(count).fill(new Date(BASE_MS + step * ms)),
    );
    expect(counted.map((since) => turnOf({ priority: 5, ready_at: since, queued_at: null }, AGING_MS)).sort()).toEqual(
      inFront.map((row) => turnOf(row, AGING_MS)).sort(),
    );
    await lanes.backend.queue('system').obliterate({ force: true });
    await lanes.reconciler.runOnce();
    expect(await lanes.backend.firstJobs('system', 1_000)).toEqual(before);
  });

  it('is called once, and a leader that dies before it adds the jobs leaves them to the reconciler', async () => {
    await storeBacklog(database.db, heavy, 10);
    const call = { lane: 'system' as const, user_id: heavy, priority: 5, ago_ms: [0, 0, 0], place: [0, 1, 2] };
    const [one, other] = await Promise.all([callBacklog(database.db, [call]), callBacklog(database.db, [call])]);
    expect(new Set([...one, ...other].map(({ id }) => id)).size).toBe(one.length + other.length);
    expect((await lanes.reconciler.runOnce()).rebuilt).toBe(one.length + other.length);
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual(AGREED);
  });

  it('loses nothing beside a process that does not know of it', async () => {
    await storeBacklog(database.db, heavy, 6);
    // It takes the lane for a key with one place, and gives whoever is first a job in another generation.
    const old = () => callNext(database.db, [{ user_id: heavy, held_by: 'lane' }], { everybody: 0, agingMs: AGING_MS });
    const called = await old();
    expect(called).toHaveLength(1);
    await lanes.dispatcher.enqueue(called.map((task) => ({ ...task, kind: 'task' as const })));
    const round = createRounds(database.db, lanes.dispatcher);
    const ran: string[] = [];
    for (let left = true; left; ) {
      await Promise.all([round.run(), old()]);
      await lanes.reconciler.runOnce();
      ran.push(...(await run(4)).map(({ id }) => id));
      left = (await database.db.selectFrom('tasks').select('id').where('status', '=', 'pending').execute()).length > 0;
    }
    expect(new Set(ran).size).toBe(6);
  });

  it('comes to the front one at a time where far too many have a job already, and what is more urgent at once', async () => {
    for (let n = 0; n < 3; n++) await held(heavy);
    const round = createRounds(database.db, lanes.dispatcher);
    round.learn([], new Map(), new Set(['system']));
    expect([(await round.run()).admitted, (await round.run()).admitted]).toEqual([1, 0]);
    const urgent = await held(light, { priority: 1 });
    await round.run();
    expect((await read(urgent)).called).toBe(true);
  });

  it('passes by what was cancelled, what is not due, and users who may run no more now', async () => {
    const limited = await held(light);
    await sql`update tasks set held_by = 'user' where id = ${limited}`.execute(database.db);
    const behind = await held(light);
    const later = await held(heavy, { delay_ms: 60_000 });
    const cancelled = await held(heavy);
    await cancelTask(database.db, 'any', cancelled, 'x');
    const last = await held(heavy);
    const round = createRounds(database.db, lanes.dispatcher);
    expect((await round.run()).admitted).toBe(1);
    expect((await lanes.backend.firstJobs('system', 10)).map((id) => parseJobId(id)!.id)).toEqual([last]);
    expect(await Promise.all([behind, later].map(async (id) => (await read(id)).called))).toEqual([false, false]);

    await sql`update tasks set ready_at = now() where id = ${later}`.execute(database.db);
    await cancelTask(database.db, 'any', limited, 'x');
    await lanes.reconciler.runOnce();
    expect((await round.run()).admitted).toBe(2);
    expect((await round.run()).lanes).toEqual([]);
  });

  it('passes by nobody who is more urgent than what the same user has waiting for a place', async () => {
    const limited = await held(light, { priority: 7 });
    await sql`update tasks set held_by = 'user' where id = ${limited}`.execute(database.db);
    const [urgent, behind] = [await held(light, { priority: 5 }), await held(light, { priority: 7 })];
    expect((await createRounds(database.db, lanes.dispatcher).run()).admitted).toBe(1);
    expect([(await read(urgent)).called, (await read(behind)).called]).toEqual([true, false]);
  });

  it('says of each task about how many start before it', async () => {
    await storeBacklog(database.db, heavy, 30);
    await storeBacklog(database.db, light, 3);
    await createRounds(database.db, lanes.dispatcher).run();
    const mine = await held(light);
    const theirs = await held(heavy);
    const place = async (id: string) => findPlace(database.db, await read(id), AGING_MS);
    // Four are in front; one of the three is among them or not.
    expect(await place(mine)).toEqual({
      position: expect.toSatisfy((at: number) => at >= 8 && at <= 11),
      exact: false,
    });
    expect((await place(theirs))!.position).toBeGreaterThanOrEqual(33);
  });
});

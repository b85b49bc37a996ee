import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDb, createPool } from '../../src/db/connect.ts';
import { setUserLimits } from '../../src/db/limits.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { claimLimited } from '../../src/db/tasks/claim-limited.ts';
import { raiseGenerations } from '../../src/db/tasks/repair.ts';
import { claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { createLog } from '../../src/log.ts';
import { startRelay } from '../support/relay.ts';
import { LEASE_MS, newTask, settlement, storeUser, useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';
import { BACKENDS, createWorld, type World } from '../support/world.ts';

/** As the claims spell it. */
const USER_LOCK = 0x73757475;

describe('claiming for users who may run so many tasks at a time', () => {
  const { database } = useTasks();
  const accept = async (userId: string, priorities: number[]) =>
    (
      await acceptTasks(
        database.db,
        priorities.map((priority) => newTask(userId, { priority })),
      )
    ).map(({ id }) => ({ id, generation: 0 }));
  const claimLeft = (claims: Array<{ id: string; generation: number }>, everybody = 2) =>
    claimLimited(database.db, 'w', LEASE_MS, claims, everybody);
  const taken = (answers: Awaited<ReturnType<typeof claimLeft>>) =>
    answers.flatMap((one) => (one && 'id' in one ? [one.id] : []));
  const runningOf = async (userId: string) =>
    (
      await database.db
        .selectFrom('tasks')
        .select('id')
        .where('user_id', '=', userId)
        .where('status', '=', 'running')
        .execute()
    ).length;

  it('starts the most urgent of them, and says of the others when to come again', async () => {
    const claims = await accept(database.userId, [5, 9, 1, 5, 2]);
    expect(await claimTasks(database.db, 'w', LEASE_MS, claims, 2)).toEqual(claims.map(() => undefined));
    const answers = await claimLeft(claims);
    expect(taken(answers)).toEqual([claims[2]?.id, claims[4]?.id]);
    const waits = answers.flatMap((one) => (one && 'waitMs' in one ? [one.waitMs] : []));
    expect(waits).toHaveLength(3);
    for (const ms of waits) {
      expect(ms).toBeGreaterThanOrEqual(500);
      expect(ms).toBeLessThanOrEqual(560);
    }
    expect(taken(await claimLeft(claims))).toEqual([]);
    await settleTasks(database.db, [settlement(claims[2]?.id ?? '', 1)]);
    expect(taken(await claimLeft(claims))).toHaveLength(1);
  });

  it('answers the job of the present generation, and lets one of an earlier go, where both come together', async () => {
    const [first, second] = await accept(database.userId, [1, 5]);
    expect(taken(await claimLeft([first!], 1))).toHaveLength(1);
    await raiseGenerations(database.db, 'task', [second!]);
    const present = { ...second!, generation: 1 };
    expect(await claimLeft([second!, present], 1)).toEqual([undefined, { waitMs: expect.any(Number) }]);
  });

  it('never starts more than that, however many workers claim at the same moment', async () => {
    for (let round = 0; round < 20; round++) {
      const userId = await storeUser(database.db);
      const claims = await accept(userId, Array(12).fill(5));
      const all = await Promise.all(claims.map((claim) => claimLeft([claim], 2)));
      expect(all.flatMap(taken)).toHaveLength(2);
      expect(await runningOf(userId)).toBe(2);
    }
  });

  it('counts each user apart, with the limit that was set for them', async () => {
    const [other, third] = [await storeUser(database.db), await storeUser(database.db)];
    await setUserLimits(database.db, other, { running_tasks: 1 });
    await setUserLimits(database.db, third, { running_tasks: 0 });
    const ids = [database.userId, other, third];
    const claims = (await Promise.all(ids.map((userId) => accept(userId, [5, 5, 5])))).flat();
    expect((await claimTasks(database.db, 'w', LEASE_MS, claims, 2)).filter(Boolean)).toHaveLength(3);
    await claimLeft(claims);
    expect(await Promise.all(ids.map(runningOf))).toEqual([2, 1, 3]);
  });

  it('drops what cannot be started: another generation, taken, ended, or asked for twice', async () => {
    const [first, second] = await accept(database.userId, [5, 5]);
    const wrong = { id: first!.id, generation: 1 };
    const answers = await claimLeft([wrong, first!, first!]);
    expect(answers.map((one) => one && 'id' in one && one.id)).toEqual([undefined, first!.id, undefined]);
    await database.db
      .updateTable('tasks')
      .set({ status: 'cancelled', completed_at: new Date() })
      .where('id', '=', second!.id)
      .execute();
    expect(await claimLeft([first!, second!])).toEqual([undefined, undefined]);
  });

  it('waits for another worker at the same user only so long; what it could not take comes back and is taken then', async () => {
    const claims = await accept(database.userId, [5, 5, 5]);
    const answers = await database.db.transaction().execute(async (trx) => {
      await sql`select pg_advisory_xact_lock(${USER_LOCK}::int, hashtext(${database.userId}))`.execute(trx);
      const asked = performance.now();
      const held = await claimLeft(claims);
      expect(performance.now() - asked).toBeLessThan(4_000);
      return held;
    });
    expect(answers).toEqual(claims.map(() => ({ waitMs: expect.any(Number) })));
    expect(taken(await claimLeft(claims))).toHaveLength(2);
  });

  it('takes from a worker that was cut off amid its claim what it held, so that the others can claim', async () => {
    const [first, second] = await accept(database.userId, [1, 5]);
    const relay = await startRelay(database.url);
    const db = createDb(createPool({ url: relay.url, max: 1, name: 'cut off', log: createLog('silent') }));
    const gone = await database.db.transaction().execute(async (trx) => {
      await sql`select 1 from tasks where id = ${first!.id} for update`.execute(trx);
      const claiming = claimLimited(db, 'cut off', LEASE_MS, [first!], 2).catch((error: unknown) => error);
      await until('it is at the row', async () => {
        const { rows } = await sql`select 1 from pg_stat_activity where datname = current_database()
          and application_name = 'cut off' and wait_event_type = 'Lock'`.execute(database.db);
        return rows.length > 0;
      });
      relay.set('blackhole');
      return { claiming };
    });
    await until('another takes', async () => taken(await claimLeft([second!])).length === 1, { withinMs: 8_000 });
    relay.cut();
    expect(await gone.claiming).toBeInstanceOf(Error);
    expect(await runningOf(database.userId)).toBe(1);
    await db.destroy();
    await relay.close();
  });

  it('starts tasks of users whose limit was taken away in between', async () => {
    const claims = await accept(database.userId, [5, 5, 5]);
    expect(taken(await claimLeft(claims, 0))).toHaveLength(3);
  });
});

describe.each(BACKENDS)('the limit of running tasks on %s', (backend) => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ backend, env: { MAX_RUNNING_TASKS_PER_USER: '2', WORKER_CONCURRENCY: '12' } });
  });
  afterAll(() => world.close());

  it('S42: holds back tasks of one user while others run theirs, and loses none', async () => {
    let now = 0;
    let most = 0;
    world.ollama.script = async ({ body }) => {
      if (!JSON.stringify(body).includes('greedy')) return false;
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 60));
      now--;
      return false;
    };
    const [greedy, other] = [await world.client(), await world.client()];
    const chat = (content: string) => ({ messages: [{ role: 'user', content }] });
    const ids = await Promise.all(
      Array.from({ length: 14 }, async () => (await greedy.submit('chat', chat('greedy'))).id),
    );
    expect((await other.runTask('chat', chat('modest'))).status).toBe('completed');
    const unfinished = await world.db
      .selectFrom('tasks')
      .select('id')
      .where('user_id', '=', greedy.userId)
      .where('completed_at', 'is', null)
      .execute();
    expect(unfinished.length).toBeGreaterThan(0);
    const ended = await Promise.all(ids.map((id) => greedy.waitForEnd(id)));
    expect(ended.map(({ status, attempt }) => `${status} ${attempt}`)).toEqual(ids.map(() => 'completed 1'));
    expect(most).toBe(2);
  });

  it('follows a limit that was changed', async () => {
    const user = await world.client();
    await setUserLimits(world.db, user.userId, { running_tasks: 5 });
    let now = 0;
    let most = 0;
    world.ollama.script = async () => {
      most = Math.max(most, ++now);
      await until('the others run too', () => most === 5).catch(() => {});
      now--;
      return false;
    };
    const chat = { messages: [{ role: 'user', content: 'hi' }] };
    await Promise.all(Array.from({ length: 8 }, () => user.runTask('chat', chat)));
    expect(most).toBe(5);
  });
});

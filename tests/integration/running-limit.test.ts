import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDb, createPool } from '../../src/db/connect.ts';
import { setUserLimits } from '../../src/db/limits.ts';
import { claimLimited } from '../../src/db/tasks/claim-limited.ts';
import { callNext } from '../../src/db/tasks/holds.ts';
import { raiseGenerations } from '../../src/db/tasks/repair.ts';
import { claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { BY_USER } from '../../src/db/tasks/seats.ts';
import { cancelTask } from '../../src/db/tasks/steer.ts';
import { createLog } from '../../src/log.ts';
import { useLimited } from '../support/limited.ts';
import { startRelay } from '../support/relay.ts';
import { LEASE_MS, settlement, storeUser, useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';
import { BACKENDS, createWorld, type World } from '../support/world.ts';

describe('claiming for users who may run so many tasks at a time', () => {
  const { database } = useTasks();
  const { accept, claimLeft, holdUser } = useLimited(database);
  const call = (everybody = 2, userId = database.userId) =>
    callNext(database.db, [{ user_id: userId, held_by: BY_USER }], { everybody, agingMs: 0 });
  const taken = (answers: Awaited<ReturnType<typeof claimLeft>>) =>
    answers.claimed.flatMap((one) => (one && 'id' in one ? [one.id] : []));
  const runningOf = async (userId: string) =>
    (
      await database.db
        .selectFrom('tasks')
        .select('id')
        .where('user_id', '=', userId)
        .where('status', '=', 'running')
        .execute()
    ).length;

  it('starts the most urgent of them, holds the others back, and calls the next of them when one ends', async () => {
    const claims = await accept(database.userId, [5, 9, 1, 5, 2]);
    expect(await claimTasks(database.db, 'w', LEASE_MS, claims, 2)).toEqual(claims.map(() => undefined));
    expect(taken(await claimLeft(claims))).toEqual([claims[2]?.id, claims[4]?.id]);
    expect(taken(await claimLeft(claims))).toEqual([]);
    expect(await call()).toEqual([]);
    await settleTasks(database.db, [settlement(claims[2]?.id ?? '', 1)]);
    const called = await call();
    expect(called.map(({ id, generation }) => ({ id, generation }))).toEqual([{ id: claims[0]?.id, generation: 1 }]);
    expect(await call()).toEqual([]);
    expect(taken(await claimLeft([{ id: claims[3]?.id ?? '', generation: 0 }]))).toEqual([]);
    expect(taken(await claimLeft(called))).toEqual([claims[0]?.id]);
  });

  it('answers the job of the present generation, and lets one of an earlier go, where both come together', async () => {
    const [task] = await accept(database.userId, [5]);
    await raiseGenerations(database.db, 'task', [task!]);
    const { claimed } = await claimLeft([task!, { ...task!, generation: 1 }], 1);
    expect(claimed).toEqual([undefined, expect.objectContaining({ id: task!.id, generation: 1 })]);
  });

  it('goes on with the next where one that was called is cancelled, and where one that failed waits for its next attempt', async () => {
    const claims = await accept(database.userId, [1, 2, 3, 4]);
    const [first, second, third, fourth] = claims.map(({ id }) => id);
    expect(taken(await claimLeft(claims, 1))).toEqual([first]);
    await settleTasks(database.db, [settlement(first!, 1)]);
    expect((await call(1)).map(({ id }) => id)).toEqual([second]);
    expect(await cancelTask(database.db, 'any', second!, 'test')).toMatchObject({ status: 'cancelled', called: true });
    const [called] = await call(1);
    expect(called?.id).toBe(third);
    expect(taken(await claimLeft([called!], 1))).toEqual([third]);
    const later = { status: 'pending', outcome: 'retry', output: null, delay_ms: 60_000 } as const;
    expect(await settleTasks(database.db, [settlement(third!, 1, later)])).toMatchObject([{ called: false }]);
    const next = await call(1);
    expect(next.map(({ id }) => id)).toEqual([fourth]);
    expect(taken(await claimLeft(next, 1))).toEqual([fourth]);
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
    expect(answers.claimed.map((one) => one && 'id' in one && one.id)).toEqual([undefined, first!.id, undefined]);
    await database.db
      .updateTable('tasks')
      .set({ status: 'cancelled', completed_at: new Date() })
      .where('id', '=', second!.id)
      .execute();
    expect((await claimLeft([first!, second!])).claimed).toEqual([undefined, undefined]);
  });

  it('waits for another worker at the same user only so long; what it could not take comes back and is taken then', async () => {
    const claims = await accept(database.userId, [5, 5, 5]);
    const answers = await database.db.transaction().execute(async (trx) => {
      await holdUser(trx);
      const asked = performance.now();
      const held = await claimLeft(claims);
      expect(performance.now() - asked).toBeLessThan(4_000);
      return held;
    });
    expect(answers.claimed).toEqual(claims.map(() => ({ waitMs: expect.any(Number) })));
    expect(taken(await claimLeft(claims))).toHaveLength(2);
  });

  it('takes from a worker that was cut off amid its claim what it held, so that the others can claim', async () => {
    const [first, second] = await accept(database.userId, [1, 5]);
    const relay = await startRelay(database.url);
    const db = createDb(createPool({ url: relay.url, max: 1, name: 'cut off', log: createLog('silent') }));
    const gone = await database.db.transaction().execute(async (trx) => {
      await sql`select 1 from tasks where id = ${first!.id} for update`.execute(trx);
      const claiming = claimLimited(db, 'cut off', LEASE_MS, [first!], { everybody: 2, agingMs: 0 }).catch(
        (error: unknown) => error,
      );
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
    const { promise: modestHasRun, resolve: goOn } = Promise.withResolvers<void>();
    world.ollama.script = async ({ body }) => {
      if (!JSON.stringify(body).includes('greedy')) return false;
      most = Math.max(most, ++now);
      await modestHasRun;
      await new Promise((resolve) => setTimeout(resolve, 20));
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
    expect(unfinished).toHaveLength(ids.length);
    goOn();
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

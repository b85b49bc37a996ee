import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { migrateUp } from '../../src/db/migrate.ts';
import { openNotifications } from '../../src/db/notify.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { BACKLOG_CHANNEL, sayBacklog } from '../../src/db/tasks/backlog.ts';
import { createLog } from '../../src/log.ts';
import { type Admitter, createAdmitter } from '../../src/queues/admitter.ts';
import type { FrontOptions } from '../../src/queues/front.ts';
import { createIntake } from '../../src/queues/intake.ts';
import { parseJobId } from '../../src/queues/job-id.ts';
import { createRounds, storeBacklog } from '../support/backlog.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Lanes, openLanes } from '../support/lanes.ts';
import { newTask, storeUser } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const log = createLog('silent');
const AGING_MS = 600_000;
const FRONT: FrontOptions = { most: 4, agingMs: AGING_MS, choosing: new Set() };
const NEVER_MS = 3_600_000;

describe('whoever waits in the backlog of a lane', () => {
  let database: TestDatabase;
  let lanes: Lanes;
  let admitter: Admitter | undefined;
  beforeEach(async () => {
    database = await createTestDatabase();
    lanes = await openLanes('postgres', database, { agingMs: AGING_MS });
  });
  afterEach(async () => {
    await admitter?.close();
    admitter = undefined;
    await lanes.close();
    await database.close();
  });

  const jobs = async () => (await lanes.backend.firstJobs('system', 1_000)).map((id) => parseJobId(id)!);

  /**
   * An admitter that nothing but word of others wakes.
   * @param looks told at the beginning of each look; says whether the queue store is reached then
   */
  function open(
    looks: (tell: (payload: string) => void) => boolean,
    more: Partial<FrontOptions & { idleMs: number }> = {},
  ): void {
    let tell = (_: string) => {};
    const notifications = {
      on(_: string, listener: (payload: string) => void) {
        tell = listener;
        return () => {};
      },
    };
    const backend = { isUp: () => looks((payload) => tell(payload)) };
    const { db, pool } = database;
    const { dispatcher } = lanes;
    admitter = createAdmitter({
      ...{ db, pool, backend, dispatcher, notifications, log, idleMs: NEVER_MS },
      ...FRONT,
      ...more,
    });
  }

  it('is looked after when somebody says so, also where that is said in the middle of a look', async () => {
    let looks = 0;
    open((tell) => {
      looks++;
      if (looks === 1) tell('some system');
      return true;
    });
    await until('it has looked again', () => looks === 2);
  });

  it('keeps nobody from bringing the schema up to date while one process looks after it', async () => {
    let looked = false;
    open(() => {
      looked = true;
      return true;
    });
    await until('it leads', () => looked);
    expect(await migrateUp({ ...database, log })).toEqual([]);
  });

  it('gets a job where backlogs were switched off since, however many wait', async () => {
    await storeBacklog(database.db, await storeUser(database.db), 1_200);
    open(() => true, { most: 0 });
    await until(
      'all have a job',
      async () => (await lanes.backend.queue('system').getJobCounts('prioritized')).prioritized === 1_200,
    );
    expect((await lanes.reconciler.runOnce()).rebuilt).toBe(0);
  });

  it('is looked at although nobody is left behind where the last look at the users of its class ended', async () => {
    // As many as are looked at together, so that the look after them finds nobody.
    const users = await Promise.all(Array.from({ length: 64 }, () => storeUser(database.db)));
    await acceptTasks(
      database.db,
      users.map((user) => newTask(user, { held: true })),
    );
    const round = createRounds(database.db, lanes.dispatcher);
    const admitted: number[] = [];
    for (let n = 0; n < 3; n++) {
      admitted.push((await round.run()).admitted);
      const own = await jobs();
      await database.db
        .updateTable('tasks')
        .set({ status: 'cancelled', completed_at: new Date() })
        .where(
          'id',
          'in',
          own.map(({ id }) => id),
        )
        .execute();
      await Promise.all(own.map((job) => lanes.dispatcher.remove({ ...job, lane: 'system' })));
    }
    // Its front grows, because it ran dry.
    expect(admitted).toEqual([4, 8, 16]);
  });

  it('is looked at although those at whom one looks first may all run no more', async () => {
    const users = (await Promise.all(Array.from({ length: 65 }, () => storeUser(database.db)))).toSorted();
    const tasks = users.map((user) => newTask(user, { held: true }));
    const limited = users.slice(0, -1).map((user) => newTask(user));
    await acceptTasks(database.db, [...tasks, ...limited]);
    await database.db
      .updateTable('tasks')
      .set({ held_by: 'user' })
      .where(
        'id',
        'in',
        limited.map(({ id }) => id),
      )
      .execute();
    expect((await createRounds(database.db, lanes.dispatcher).run()).admitted).toBe(1);
    expect((await jobs()).map(({ id }) => id)).toEqual([tasks.at(-1)?.id]);
  });

  it('is looked after by another process where the one that did does not reach the queue store', async () => {
    let [up, looked, looks] = [true, false, 0];
    const first = () => {
      looks++;
      return up;
    };
    open(first, { idleMs: 50 });
    const cutOff = admitter;
    try {
      await until('it leads', () => looks > 0);
      open(() => {
        looked = true;
        return true;
      });
      await until('it goes on', () => looks > 3);
      expect(looked).toBe(false);
      up = false;
      await until('the other one leads', () => looked);
    } finally {
      await cutOff?.close();
    }
  });

  it('is not got round with a delay of a moment, nor where too many have a job to be counted', async () => {
    const intake = createIntake({
      ...{ db: database.db, notifications: { on: () => () => {}, onConnect: () => () => {} }, log },
      ...FRONT,
    });
    const user = await storeUser(database.db);
    const held = (more = {}) => intake.place([newTask(user, more)])[0]?.held ?? false;
    await intake.look();
    expect(held({ delay_ms: 1 })).toBe(false);
    for (let n = 0; n < FRONT.most; n++) expect(held()).toBe(false);
    expect([held({ delay_ms: 1 }), held()]).toEqual([true, true]);

    await acceptTasks(
      database.db,
      Array.from({ length: 2 * FRONT.most }, () => newTask(user, { delay_ms: 3_600_000, priority: 1 })),
    );
    await until('it has seen them', async () => {
      await intake.look();
      return held();
    });
  });

  it('is told of by who stores the first of a user there, by a worker that finds no job, and by nobody else', async () => {
    const notifications = await openNotifications(database.url, [BACKLOG_CHANNEL], log);
    const heard: string[] = [];
    notifications.on(BACKLOG_CHANNEL, (payload) => heard.push(payload));
    const intake = createIntake({ db: database.db, notifications, log, ...FRONT });
    const hears = (count: number) => until(`${count} were told`, () => heard.length >= count);
    /** A word of the test: what would have been said before it was. */
    const nothingElse = async (count: number) => {
      await sayBacklog(database.db, { some: false, lanes: ['webhook'] });
      await hears(count + 1);
      expect(heard.splice(count)).toEqual(['none webhook']);
    };
    try {
      await intake.look();
      const [heavy, light] = [await storeUser(database.db), await storeUser(database.db)];
      intake.dry('system');
      const heap = intake.place(Array.from({ length: 10 }, () => newTask(heavy)));
      expect(heap.map(({ held }) => held ?? false)).toEqual(Array.from({ length: 10 }, (_, n) => n >= FRONT.most));
      await nothingElse(0);
      await acceptTasks(database.db, heap);
      intake.stored(heap.slice(FRONT.most));
      await hears(1);
      expect(heard).toEqual(['some system']);

      const second = intake.place([newTask(light)]);
      await acceptTasks(database.db, second);
      intake.stored(second);
      await hears(2);
      intake.dry('system');
      await hears(3);
      expect(intake.full()).toEqual(['system']);

      await database.db.updateTable('tasks').set({ called: true }).execute();
      await sayBacklog(database.db, { some: false, lanes: ['system'] });
      await until('it knows that nobody waits there any more', () => intake.full().length === 0);
      heard.length = 0;
      intake.dry('system');
      await nothingElse(0);
    } finally {
      await notifications.close();
    }
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWaiters, type Waiters } from '../../src/api/waiters.ts';
import { type Notifications, openNotifications } from '../../src/db/notify.ts';
import { TASK_CHANNEL } from '../../src/db/tasks/transition.ts';
import { createLog } from '../../src/log.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const never = new AbortController().signal;
const LONG_MS = 20_000;

describe('waiting for the end of tasks', () => {
  let database: TestDatabase;
  let notifications: Notifications;
  let waiters: Waiters;
  beforeAll(async () => {
    database = await createTestDatabase();
    notifications = await openNotifications(database.url, [TASK_CHANNEL], createLog('silent'));
    waiters = createWaiters(notifications);
  });
  afterAll(async () => {
    await notifications.close();
    await database.close();
  });

  const say = (text: string) => database.pool.query('select pg_notify($1, $2)', [TASK_CHANNEL, text]);
  /** Resolves once this process has heard everything that was said so far. */
  async function heard() {
    const last = waiters.watch('last');
    const done = last.wait(LONG_MS, never);
    await say('ended last');
    await done;
    last.close();
  }

  it('hears of an end that was said before anybody waited, but after the watch was opened', async () => {
    const watch = waiters.watch('a');
    await say('ended a');
    await heard();
    const started = performance.now();
    expect(await watch.wait(LONG_MS, never)).toBe(true);
    expect(performance.now() - started).toBeLessThan(1000);
    watch.close();
  });

  it('tells of each end once, and sleeps again afterwards', async () => {
    const watch = waiters.watch('a');
    const first = watch.wait(LONG_MS, never);
    await say('ended a');
    expect(await first).toBe(true);
    const started = performance.now();
    expect(await watch.wait(50, never)).toBe(true);
    expect(performance.now() - started).toBeGreaterThanOrEqual(45);
    watch.close();
  });

  it('wakes all who wait for a task and nobody else', async () => {
    const same = [waiters.watch('a'), waiters.watch('a')];
    const other = waiters.watch('b');
    let woken = false;
    const stop = new AbortController();
    const sleeping = other.wait(LONG_MS, stop.signal).then((more) => {
      woken = true;
      return more;
    });
    const waiting = same.map((watch) => watch.wait(LONG_MS, never));
    await say('cancelling b');
    await say('ended a');
    expect(await Promise.all(waiting)).toEqual([true, true]);
    await heard();
    expect(woken).toBe(false);
    stop.abort();
    expect(await sleeping).toBe(false);
    for (const watch of [...same, other]) watch.close();
  });

  it('lets a client that has gone wait no more', async () => {
    const watch = waiters.watch('a');
    expect(await watch.wait(LONG_MS, AbortSignal.abort())).toBe(false);
    watch.close();
  });

  it('has one watch of two left when the other was closed', async () => {
    const [first, second] = [waiters.watch('a'), waiters.watch('a')];
    first.close();
    first.close();
    const waiting = second.wait(LONG_MS, never);
    await say('ended a');
    expect(await waiting).toBe(true);
    second.close();
  });

  it('lets everybody look again after the connection broke, because what was said meanwhile is lost', async () => {
    const watch = waiters.watch('a');
    const waiting = watch.wait(LONG_MS, never);
    const started = performance.now();
    await database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name = 'sutazai:notify'`,
    );
    expect(await waiting).toBe(true);
    expect(performance.now() - started).toBeLessThan(LONG_MS / 2);
    watch.close();
  });

  it('wakes everybody when it is closed, and lets nobody sleep any more', async () => {
    const own = createWaiters(notifications);
    const watch = own.watch('a');
    const waiting = watch.wait(LONG_MS, never);
    own.close();
    expect(await waiting).toBe(false);
    expect(await own.watch('b').wait(LONG_MS, never)).toBe(false);
  });
});

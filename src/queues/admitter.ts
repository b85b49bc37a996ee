import type pg from 'pg';
import type { Db } from '../db/connect.ts';
import { forgetCosts, readMeanCosts } from '../db/costs.ts';
import type { Notifications } from '../db/notify.ts';
import { BACKLOG_CHANNEL, readPaces } from '../db/tasks/backlog.ts';
import type { Logger } from '../log.ts';
import { LANES } from '../tasks/lanes.ts';
import { type AdmitRound, type AdmittedLanes, createAdmitRound } from './admit-round.ts';
import type { QueueBackend } from './backend.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { FrontOptions } from './front.ts';
import { ADMITTER, createLeadership } from './leader.ts';

/** Lets tasks come from the backlogs of lanes to their fronts. One process does it at a time. */
export interface Admitter {
  /** Looks once, whether leader or not; answers how many came to the front. For tests. */
  lookOnce(): Promise<number>;
  close(): Promise<void>;
}

interface Options extends FrontOptions {
  db: Db;
  pool: pg.Pool;
  backend: Pick<QueueBackend, 'isUp'>;
  dispatcher: Dispatcher;
  notifications: Notifications;
  log: Logger;
}

/** How long it sleeps while there is a backlog, where it moves and where it does not; and where there is none. */
const EVERY_MS = 100;
const STILL_MS = 300;
const IDLE_MS = 1_000;
/** Where the front of a lane was nearly empty, it looks again this soon. */
const HURRY_MS = 15;
const PACE_EVERY_MS = 5_000;
const FORGET_EVERY_MS = 3_600_000;

/** Starts it. */
export function createAdmitter({ db, pool, backend, dispatcher, notifications, log, ...options }: Options): Admitter {
  const round: AdmitRound = createAdmitRound({ db, dispatcher, ...options });
  const leadership = createLeadership(pool, ADMITTER, round.forget, log);
  let pacedAt = Number.NEGATIVE_INFINITY;
  let forgotAt = performance.now();
  let heldAt = Number.NEGATIVE_INFINITY;
  let leads = false;

  async function learn(now: number): Promise<void> {
    if (now - pacedAt < PACE_EVERY_MS) return;
    pacedAt = now;
    round.learn(await readPaces(db, LANES), await readMeanCosts(db));
    if (now - forgotAt < FORGET_EVERY_MS) return;
    forgotAt = now;
    await forgetCosts(db);
  }

  async function look(): Promise<AdmittedLanes> {
    if (!backend.isUp()) return { admitted: 0, backlog: false, hurry: false };
    await learn(performance.now());
    return round.run();
  }

  /** Answers how long there is nothing to do. */
  async function turn(): Promise<number> {
    const now = performance.now();
    // Every round asks the database; its lock is looked after a little less often.
    if (!leads || now - heldAt > IDLE_MS) {
      leads = await leadership.hold();
      heldAt = now;
    }
    if (!leads) return IDLE_MS;
    const { admitted, backlog, hurry } = await look();
    if (!backlog) return IDLE_MS;
    return hurry ? HURRY_MS : admitted > 0 ? EVERY_MS : STILL_MS;
  }

  let closed = false;
  let failing = false;
  let wake = () => {};
  const sleep = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  async function work(): Promise<void> {
    while (!closed) {
      let ms = IDLE_MS;
      try {
        ms = await inTurn(turn);
        failing = false;
      } catch (error) {
        leads = false;
        leadership.resign();
        log[failing ? 'debug' : 'warn']({ err: error }, 'the backlogs could not be looked at; it is tried again');
        failing = true;
      }
      if (!closed) await sleep(ms);
    }
  }

  let last: Promise<unknown> = Promise.resolve();
  function inTurn<T>(step: () => Promise<T>): Promise<T> {
    const result = last.then(step, step);
    last = result.catch(() => {});
    return result;
  }

  const stopListening = notifications.on(BACKLOG_CHANNEL, () => {
    if (leads) wake();
  });
  const working = options.most > 0 ? work() : Promise.resolve();
  return {
    lookOnce: () => inTurn(async () => (await look()).admitted),
    async close() {
      closed = true;
      stopListening();
      wake();
      await working;
      leadership.resign();
    },
  };
}

import type pg from 'pg';
import type { Db } from '../db/connect.ts';
import { forgetCosts, readMeanCosts } from '../db/costs.ts';
import type { Notifications } from '../db/notify.ts';
import {
  BACKLOG_CHANNEL,
  callAll,
  readBacklogNews,
  readLaneStates,
  readPaces,
  sayBacklog,
} from '../db/tasks/backlog.ts';
import type { Logger } from '../log.ts';
import { LANES, type Lane } from '../tasks/lanes.ts';
import { type AdmitRound, type AdmittedLanes, createAdmitRound } from './admit-round.ts';
import type { QueueBackend } from './backend.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { FrontOptions } from './front.ts';
import { ADMITTER, createLeadership } from './leader.ts';

/** Lets tasks come from the backlogs of lanes to their fronts. One process does it at a time. */
export interface Admitter {
  close(): Promise<void>;
}

interface Options extends FrontOptions {
  db: Db;
  pool: pg.Pool;
  backend: Pick<QueueBackend, 'isUp'>;
  dispatcher: Dispatcher;
  notifications: Pick<Notifications, 'on'>;
  log: Logger;
  /** How long it sleeps where there is no backlog, unless it is woken. */
  idleMs?: number;
}

/** How long it sleeps while there is a backlog, where it moves and where it does not; and where there is none. */
const EVERY_MS = 100;
const STILL_MS = 300;
const IDLE_MS = 1_000;
/** Where the front of a lane was nearly empty, it looks again this soon. Nobody wakes it sooner, nor sooner than the other where nobody came to it. */
const HURRY_MS = 15;
const IN_VAIN_MS = 100;
const PACE_EVERY_MS = 5_000;
const FORGET_EVERY_MS = 3_600_000;
/** A queue has no more than so many times what it is to have, however many are turned away by their dependency and tried again. */
const CROWDED = 10;
/** Where there are to be no backlogs, so many are called at a time of what is left of them. */
const CALLED_TOGETHER = 1_000;

/** Starts it. */
export function createAdmitter(given: Options): Admitter {
  const { db, pool, backend, dispatcher, notifications, log, idleMs = IDLE_MS, ...options } = given;
  const round: AdmitRound = createAdmitRound({ db, dispatcher, ...options });
  const leadership = createLeadership(pool, ADMITTER, round.forget, log);
  let pacedAt = Number.NEGATIVE_INFINITY;
  let forgotAt = performance.now();
  let heldAt = Number.NEGATIVE_INFINITY;
  let leads = false;
  /** Whether this process did not reach the queue store when it looked last. */
  let away = false;
  /** The lanes in whose backlog somebody is, as the other processes believe. */
  let believed = new Set<Lane>();
  /** Whether a backlog has just come to its end: what was on its way to it may still come. */
  let over = false;

  async function learn(now: number): Promise<void> {
    if (now - pacedAt < PACE_EVERY_MS) return;
    pacedAt = now;
    const counted = CROWDED * options.most;
    const states = await readLaneStates(db, LANES, counted);
    const crowded = states.filter(({ ready, later }) => ready + later >= counted).map(({ lane }) => lane);
    round.learn(await readPaces(db, LANES), await readMeanCosts(db), new Set(crowded));
    if (now - forgotAt < FORGET_EVERY_MS) return;
    forgotAt = now;
    await forgetCosts(db);
  }

  async function look(): Promise<AdmittedLanes> {
    if (options.most === 0) return callWhoIsLeft();
    await learn(performance.now());
    const before = believed;
    believed = new Set();
    const came = await round.run();
    for (const lane of came.lanes) before.delete(lane);
    for (const lane of came.lanes) believed.add(lane);
    over = before.size > 0;
    if (over) await sayBacklog(db, { some: false, lanes: [...before] });
    return came;
  }

  /** Of a time in which there were backlogs, or from a process that still has them. */
  async function callWhoIsLeft(): Promise<AdmittedLanes> {
    const called = await callAll(db, CALLED_TOGETHER);
    await dispatcher.enqueue(called.map((task) => ({ ...task, kind: 'task' as const })));
    return {
      admitted: called.length,
      lanes: [...new Set(called.map(({ lane }) => lane))],
      hurry: called.length === CALLED_TOGETHER,
    };
  }

  /** Answers how long there is nothing to do, and how long nobody may wake it. */
  async function turn(): Promise<{ ms: number; leastMs: number }> {
    const now = performance.now();
    const later = { ms: IDLE_MS, leastMs: IDLE_MS };
    if (away && !backend.isUp()) return later;
    // Every round asks the database; its lock is looked after a little less often.
    if (!leads || now - heldAt > IDLE_MS) {
      leads = await leadership.hold();
      heldAt = now;
    }
    if (!leads) return later;
    away = !backend.isUp();
    if (away) {
      // Another process may reach it.
      leads = false;
      leadership.resign();
      return later;
    }
    const { admitted, lanes, hurry } = await look();
    // Those who wait may not run now, and whatever ends wakes it again and again.
    const leastMs = hurry && admitted === 0 ? IN_VAIN_MS : HURRY_MS;
    if (lanes.length === 0) return { ms: over ? EVERY_MS : idleMs, leastMs };
    return { ms: admitted === 0 ? STILL_MS : hurry ? HURRY_MS : EVERY_MS, leastMs };
  }

  let closed = false;
  let failing = false;
  /** Whether somebody wants it to look, told since the last look began. */
  let wanted = false;
  let wake = () => {};
  /** Wakes it where that may be. */
  let rouse = () => {};
  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  async function sleep(ms: number, leastMs: number): Promise<void> {
    await pause(Math.min(ms, leastMs));
    if (wanted || closed || ms <= leastMs) return;
    const rest = pause(ms - leastMs);
    rouse = wake;
    await rest;
    rouse = () => {};
  }

  async function work(): Promise<void> {
    while (!closed) {
      let next = { ms: IDLE_MS, leastMs: IDLE_MS };
      wanted = false;
      try {
        next = await turn();
        failing = false;
      } catch (error) {
        leads = false;
        leadership.resign();
        log[failing ? 'debug' : 'warn']({ err: error }, 'the backlogs could not be looked at; it is tried again');
        failing = true;
      }
      if (!closed) await sleep(next.ms, next.leastMs);
    }
  }

  const stopListening = notifications.on(BACKLOG_CHANNEL, (payload) => {
    const { some, lanes } = readBacklogNews(payload);
    if (!some || !leads) return;
    for (const lane of lanes) believed.add(lane);
    wanted = true;
    rouse();
  });
  const working = work();
  return {
    async close() {
      closed = true;
      stopListening();
      wake();
      await working;
      leadership.resign();
    },
  };
}

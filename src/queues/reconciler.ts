import type pg from 'pg';
import type { Db } from '../db/connect.ts';
import { rescueDeliveries } from '../db/deliveries.ts';
import { deleteExpiredKeys } from '../db/idempotency.ts';
import { expireTasks, promoteTasks, rescueTasks } from '../db/tasks/repair.ts';
import { wakeLate } from '../db/tasks/signal.ts';
import { endForsaken } from '../db/tasks/stop.ts';
import type { Transition } from '../db/tasks/transition.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { metrics } from '../telemetry/metrics.ts';
import type { QueueBackend } from './backend.ts';
import { createComparison } from './comparison.ts';
import type { Dispatcher } from './dispatcher.ts';
import { createLeadership, RECONCILER } from './leader.ts';
import { createMarker } from './marks.ts';
import { applyPauses } from './pauses.ts';
import { createPlaces } from './places.ts';
import { noRepairs, type Repairs, sayRepairs } from './repairs.ts';
import { createRetention, type RetentionDays } from './retention.ts';
import { wakesOf } from './wakes.ts';

export interface Reconciler {
  /** Looks at everything once, whether leader or not; answers what was repaired so far. For tests. */
  runOnce(): Promise<Repairs>;
  repairs(): Readonly<Repairs>;
  close(): Promise<void>;
}

interface Options {
  db: Db;
  pool: pg.Pool;
  backend: QueueBackend;
  dispatcher: Dispatcher;
  log: Logger;
  everyMs?: number;
  /** How long a lease is; after an outage of the database, workers get that long to renew theirs before tasks are taken from them. */
  leaseMs: number;
  /** How much waiting a class of priority is worth; see `turn.ts`. */
  agingMs: number;
  /** How long what has ended is kept; for ever where this is not given. */
  retention?: RetentionDays;
  /** How many tasks of a user may run at a time, where nothing else was set for that user; 0 is no limit. */
  everybody?: number;
  /** Begins to go on with what nobody else goes on with, a part of it a round. */
  sweep?: () => Promise<unknown>;
  /** How long somebody leads who does not reach the queue store: another process may. */
  awayMs?: number;
  /** A row is compared with its job only when it has waited this long, because the job may be just on the way. */
  quietMs?: number;
}

const BATCH = 500;
const PROMOTED_A_ROUND = 10_000;
const FORGOTTEN_A_ROUND = 10_000;
/** All parked tasks are looked at for it, and it comes about while versions are mixed alone. */
const FORSAKEN_EVERY_MS = 60_000;
/** How long a round works on the lanes before it looks after the rows again. */
const SLICE_MS = 1_500;
/** How long it deletes what is kept no longer, before the next round. */
const DELETE_MS = 200;

const KEEP_ALL: RetentionDays = { completed: 0, failed: 0, cancelled: 0, expired: 0, payload: 0 };

/** Makes lanes agree with the rows again. One process leads at a time; a leader that dies loses the lock with its connection. */
export function createReconciler(options: Options): Reconciler {
  const {
    db,
    pool,
    backend,
    dispatcher,
    log,
    leaseMs,
    agingMs,
    everyMs = 2_000,
    quietMs = 3_000,
    awayMs = 10_000,
    everybody = 0,
  } = options;
  const repairs = noRepairs();
  const comparison = createComparison({ db, backend, dispatcher, repairs, agingMs, quietMs, log });
  const places = createPlaces({ db, dispatcher, everybody, agingMs, log });
  const leadership = createLeadership(pool, RECONCILER, comparison.restart, log);
  const retention = createRetention({ db, days: options.retention ?? KEEP_ALL, repairs, log });
  const mark = createMarker(db, log);
  let interrupted = false;
  let rescueFrom = 0;
  let forsakenAt = 0;
  let closing = false;
  let awaySince: number | undefined;

  /** @param gaveFree whether such a task gave a place free that others may wait for */
  async function drain(
    step: () => Promise<Transition[]>,
    gaveFree: (moved: Transition) => boolean,
  ): Promise<Transition[]> {
    const all: Transition[] = [];
    for (let moved = await step(); moved.length > 0; moved = await step()) {
      all.push(...moved);
      await dispatcher.enqueue(moved.flatMap(wakesOf));
      await places.freed(moved.filter(gaveFree));
      if (moved.length < BATCH) break;
    }
    return all;
  }

  /** What the rows need among themselves; only Postgres takes part. */
  async function repairRows(): Promise<void> {
    if (Date.now() >= rescueFrom) {
      const rescued = await drain(
        () => rescueTasks(db, BATCH),
        () => true,
      );
      repairs.rescued += rescued.length;
      repairs.poisoned += rescued.filter(({ status }) => status === 'failed').length;
    }
    repairs.expired += (
      await drain(
        () => expireTasks(db, BATCH),
        ({ called, concurrency_key, status }) => (called || concurrency_key !== null) && status !== 'cancelling',
      )
    ).length;
    repairs.woken += (
      await drain(
        () => wakeLate(db, BATCH),
        () => false,
      )
    ).length;
    if (Date.now() >= forsakenAt) {
      forsakenAt = Date.now() + FORSAKEN_EVERY_MS;
      await drain(
        () => endForsaken(db, BATCH),
        ({ concurrency_key }) => concurrency_key !== null,
      );
    }
    await options.sweep?.();
    repairs.called += await places.lookAround();
    repairs.promoted += await promoteTasks(db, PROMOTED_A_ROUND);
    await deleteExpiredKeys(db, FORGOTTEN_A_ROUND);
    const lost = await rescueDeliveries(db, BATCH);
    repairs.rescued += lost.length;
    await dispatcher.enqueue(lost.map((wake) => ({ ...wake, kind: 'delivery' as const })));
  }

  /** What the lanes lack; answers whether there is more to do. */
  async function repairLanes(until: number): Promise<boolean> {
    if (!backend.isUp()) {
      awaySince ??= performance.now();
      if (performance.now() - awaySince >= awayMs) resign();
      return false;
    }
    awaySince = undefined;
    await applyPauses(db, backend);
    return comparison.goOn(until);
  }

  function resign(): void {
    awaySince = undefined;
    metrics.leader.set(0);
    leadership.resign();
  }

  async function runOnce(): Promise<Repairs> {
    const before = { ...repairs };
    await repairRows();
    comparison.restart();
    await repairLanes(Number.POSITIVE_INFINITY);
    retention.restart();
    await retention.goOn(Number.POSITIVE_INFINITY);
    sayRepairs(before, repairs, log);
    return { ...repairs };
  }

  /** The rows come first in each round, so that nothing that the lanes lack keeps a task from being rescued. */
  async function lead(): Promise<boolean> {
    try {
      const leads = await leadership.hold();
      metrics.leader.set(leads ? 1 : 0);
      if (!leads) return false;
      if (interrupted) rescueFrom = Date.now() + leaseMs;
      interrupted = false;
      await repairRows();
      mark();
    } catch (error) {
      // Nobody could renew a lease meanwhile, so one that ran out says nothing about its worker.
      interrupted = true;
      resign();
      throw error;
    }
    return true;
  }

  /** One round; answers whether there is so much to do that the next one shall follow at once. */
  async function round(): Promise<boolean> {
    const began = Date.now();
    const before = { ...repairs };
    try {
      if (!(await lead())) return false;
      repairs.rounds++;
      metrics.rounds.inc();
      const more = await repairLanes(began + SLICE_MS);
      await retention.goOn(Date.now() + DELETE_MS);
      return more;
    } finally {
      repairs.lastRoundMs = Date.now() - began;
      metrics.roundSeconds.set(repairs.lastRoundMs / 1_000);
      sayRepairs(before, repairs, log);
    }
  }

  /** One at a time: the comparison keeps its place. */
  let last: Promise<unknown> = Promise.resolve();
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = last.then(work, work);
    last = result;
    return result;
  }

  let failing = false;
  const stop = repeat(
    everyMs,
    async () => {
      for (let more = true; more && !closing; ) more = await inTurn(round);
      failing = false;
    },
    (error) => {
      log[failing ? 'debug' : 'warn'](
        { err: error },
        'a round of the reconciler failed; it tries again until one succeeds',
      );
      failing = true;
    },
  );

  return {
    runOnce: () => inTurn(runOnce),
    repairs: () => ({ ...repairs }),
    async close() {
      closing = true;
      await stop();
      resign();
    },
  };
}

import type pg from 'pg';
import type { Db } from '../db/connect.ts';
import { rescueDeliveries } from '../db/deliveries.ts';
import { deleteExpiredKeys } from '../db/idempotency.ts';
import { expireTasks, promoteTasks, rescueTasks } from '../db/tasks/repair.ts';
import type { Transition } from '../db/tasks/transition.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { QueueBackend } from './backend.ts';
import { createComparison } from './comparison.ts';
import type { Dispatcher } from './dispatcher.ts';
import { createLeadership } from './leader.ts';
import { applyPauses } from './pauses.ts';
import { noRepairs, type Repairs, sayRepairs } from './repairs.ts';
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
  /** A row is compared with its job only when it has waited this long, because the job may be just on the way. */
  quietMs?: number;
}

const BATCH = 500;
const PROMOTED_A_ROUND = 10_000;
const FORGOTTEN_A_ROUND = 10_000;
/** How long a round works on the lanes before it looks after the rows again. */
const SLICE_MS = 1_500;

/** Makes lanes agree with the rows again. One process leads at a time; a leader that dies loses the lock with its connection. */
export function createReconciler(options: Options): Reconciler {
  const { db, pool, backend, dispatcher, log, leaseMs, agingMs, everyMs = 2_000, quietMs = 3_000 } = options;
  const repairs = noRepairs();
  const comparison = createComparison({ db, backend, dispatcher, repairs, agingMs, quietMs, log });
  const leadership = createLeadership(pool, comparison.restart, log);
  let interrupted = false;
  let rescueFrom = 0;
  let closing = false;

  async function drain(step: () => Promise<Transition[]>): Promise<Transition[]> {
    const all: Transition[] = [];
    for (let moved = await step(); moved.length > 0; moved = await step()) {
      all.push(...moved);
      await dispatcher.enqueue(moved.flatMap(wakesOf));
      if (moved.length < BATCH) break;
    }
    return all;
  }

  /** What the rows need among themselves; only Postgres takes part. */
  async function repairRows(): Promise<void> {
    if (Date.now() >= rescueFrom) {
      const rescued = await drain(() => rescueTasks(db, BATCH));
      repairs.rescued += rescued.length;
      repairs.poisoned += rescued.filter(({ status }) => status === 'failed').length;
    }
    repairs.expired += (await drain(() => expireTasks(db, BATCH))).length;
    repairs.promoted += await promoteTasks(db, PROMOTED_A_ROUND);
    await deleteExpiredKeys(db, FORGOTTEN_A_ROUND);
    const lost = await rescueDeliveries(db, BATCH);
    repairs.rescued += lost.length;
    await dispatcher.enqueue(lost.map((wake) => ({ ...wake, kind: 'delivery' as const })));
  }

  /** What the lanes lack; answers whether there is more to do. */
  async function repairLanes(until: number): Promise<boolean> {
    if (!backend.isUp()) return false;
    await applyPauses(db, backend);
    return comparison.goOn(until);
  }

  async function runOnce(): Promise<Repairs> {
    await repairRows();
    comparison.restart();
    await repairLanes(Number.POSITIVE_INFINITY);
    return { ...repairs };
  }

  /** The rows come first in each round, so that nothing that the lanes lack keeps a task from being rescued. */
  async function lead(): Promise<boolean> {
    try {
      if (!(await leadership.hold())) return false;
      if (interrupted) rescueFrom = Date.now() + leaseMs;
      interrupted = false;
      await repairRows();
    } catch (error) {
      // Nobody could renew a lease meanwhile, so one that ran out says nothing about its worker.
      interrupted = true;
      leadership.resign();
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
      return await repairLanes(began + SLICE_MS);
    } finally {
      repairs.lastRoundMs = Date.now() - began;
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
      leadership.resign();
    },
  };
}

import type pg from 'pg';
import type { Db } from '../db/connect.ts';
import { listWaitingDeliveries, rescueDeliveries } from '../db/deliveries.ts';
import {
  BEGINNING,
  expireTasks,
  listWaitingTasks,
  type Place,
  promoteTasks,
  raiseGenerations,
  rescueTasks,
  type Waiting,
} from '../db/tasks/repair.ts';
import type { Transition } from '../db/tasks/transition.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { QueueBackend } from './backend.ts';
import type { Dispatcher, Wake } from './dispatcher.ts';
import { applyPauses } from './pauses.ts';
import { wakesOf } from './wakes.ts';

/** What the reconciler repaired since it was made, for metrics and tests. */
export interface Repairs {
  rescued: number;
  expired: number;
  rebuilt: number;
  epochsLost: number;
}

export interface Reconciler {
  /** One round, whether leader or not; answers what had to be repaired. For tests and for the start. */
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
  /** A row is looked at only when it has waited this long, because its job may be just on the way. */
  quietMs?: number;
}

const BATCH = 500;
/** Pages a round looks at, so that a round stays short whatever the backlog. */
const PAGES_A_ROUND = 20;
/** After this long, every waiting row is compared with its job again, as a net below the nets. */
const FULL_SWEEP_MS = 300_000;
/** Spells `sutr`; whoever holds it in Postgres leads. */
const LEADER_LOCK = 0x73757472;
/** The lock of a leader that was cut off would stay with its session, so a silent session is to end, where Postgres can that. */
const LEAD = `select pg_try_advisory_lock($1) as got, (select set_config(name, '60s', false) from pg_settings where name = 'idle_session_timeout')`;

/** A walk over all waiting rows of one kind, oldest first, that goes on where it stopped. */
interface Sweep {
  kind: Wake['kind'];
  list: typeof listWaitingTasks;
  place: Place;
}

/**
 * Makes lanes agree with the rows again. One process leads at a time, by an advisory lock on a connection of its own; a
 * leader that dies loses the lock with its connection.
 */
export function createReconciler({
  db,
  pool,
  backend,
  dispatcher,
  log,
  leaseMs,
  everyMs = 2_000,
  quietMs = 3_000,
}: Options): Reconciler {
  const repairs: Repairs = { rescued: 0, expired: 0, rebuilt: 0, epochsLost: 0 };
  const sweeps: Sweep[] = [
    { kind: 'task', list: listWaitingTasks, place: BEGINNING },
    { kind: 'delivery', list: listWaitingDeliveries, place: BEGINNING },
  ];
  let knownEpoch: string | undefined;
  let sweptAt = 0;
  let interrupted = false;
  let rescueFrom = 0;
  let leader: pg.PoolClient | undefined;

  async function drain(step: () => Promise<Transition[]>): Promise<number> {
    let count = 0;
    for (let moved = await step(); moved.length > 0; moved = await step()) {
      count += moved.length;
      await dispatcher.enqueue(moved.flatMap(wakesOf));
      if (moved.length < BATCH) break;
    }
    return count;
  }

  function restartSweeps(): void {
    for (const sweep of sweeps) sweep.place = BEGINNING;
    sweptAt = Date.now();
  }

  async function checkEpoch(): Promise<void> {
    const epoch = await backend.readEpoch();
    if (epoch !== undefined && epoch === knownEpoch) return;
    if (knownEpoch !== undefined) {
      repairs.epochsLost++;
      log.warn(
        { backend: backend.kind },
        'the queue store was emptied or restarted; comparing every waiting row with its job',
      );
    }
    await backend.writeEpoch();
    knownEpoch = await backend.readEpoch();
    restartSweeps();
  }

  /** Looks at the next pages of waiting rows and adds the jobs that are missing. */
  async function advance(sweep: Sweep): Promise<void> {
    for (let page = 0; page < PAGES_A_ROUND; page++) {
      const rows = await sweep.list(db, sweep.place, quietMs, BATCH);
      const last = rows.at(-1);
      if (!last) return;
      await rebuild(sweep.kind, rows);
      sweep.place = { place: last.place, id: last.id };
      if (rows.length < BATCH) return;
    }
  }

  async function rebuild(kind: Wake['kind'], rows: Waiting[]): Promise<void> {
    const missing = await dispatcher.findMissing(rows);
    if (missing.length === 0) return;
    // A finished job keeps its id, and adding the same id again would be ignored without a word.
    const renewed = await raiseGenerations(
      db,
      kind,
      missing.filter(({ finished }) => finished).map(({ wake }) => wake),
    );
    const wakes = [...missing.filter(({ finished }) => !finished).map(({ wake }) => wake), ...renewed];
    repairs.rebuilt += wakes.length;
    log.info({ kind, jobs: wakes.length }, 'added jobs that were missing');
    if (!(await dispatcher.enqueue(wakes.map((wake) => ({ ...wake, kind }))))) throw new Error('the queue is away');
  }

  /** What the rows need among themselves; only Postgres takes part. */
  async function repairRows(): Promise<void> {
    if (Date.now() >= rescueFrom) repairs.rescued += await drain(() => rescueTasks(db, BATCH));
    repairs.expired += await drain(() => expireTasks(db, BATCH));
    await promoteTasks(db, BATCH * PAGES_A_ROUND);
    const lost = await rescueDeliveries(db, BATCH);
    await dispatcher.enqueue(lost.map((wake) => ({ ...wake, kind: 'delivery' as const })));
  }

  /** What the lanes lack. */
  async function repairLanes(): Promise<void> {
    if (!backend.isUp()) return;
    await applyPauses(db, backend);
    await checkEpoch();
    if (Date.now() - sweptAt > FULL_SWEEP_MS) restartSweeps();
    for (const sweep of sweeps) await advance(sweep);
  }

  async function runOnce(): Promise<Repairs> {
    await repairRows();
    await repairLanes();
    return { ...repairs };
  }

  async function lead(): Promise<boolean> {
    if (leader) return true;
    const client = await pool.connect();
    const { rows } = await client.query<{ got: boolean }>(LEAD, [LEADER_LOCK]).catch((error) => {
      client.release(true);
      throw error;
    });
    if (!rows[0]?.got) {
      client.release();
      return false;
    }
    client.once('error', () => stepDown(client));
    leader = client;
    restartSweeps();
    log.debug('leading the reconciler');
    return true;
  }

  function stepDown(client: pg.PoolClient): void {
    if (leader !== client) return;
    leader = undefined;
    client.release(true);
  }

  async function round(): Promise<void> {
    try {
      if (!(await lead())) return;
      // The lock went with the connection: ask it before acting on the word of it.
      await leader?.query('select 1');
      if (interrupted) rescueFrom = Date.now() + leaseMs;
      interrupted = false;
      await repairRows();
    } catch (error) {
      // Nobody could renew a lease meanwhile, so one that ran out says nothing about its worker.
      interrupted = true;
      if (leader) stepDown(leader);
      throw error;
    }
    await repairLanes();
  }

  let failing = false;
  const stop = repeat(
    everyMs,
    async () => {
      await round();
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
    runOnce,
    repairs: () => ({ ...repairs }),
    async close() {
      await stop();
      if (leader) stepDown(leader);
    },
  };
}

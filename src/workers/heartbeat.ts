import type { Db } from '../db/connect.ts';
import { renewLeases } from '../db/tasks/run.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { LaneWorker } from '../queues/backend.ts';
import type { Lane } from '../tasks/lanes.ts';
import type { RunningAttempts } from './attempt.ts';

interface Options {
  db: Db;
  leaseMs: number;
  lockMs: number;
  running: RunningAttempts;
  workers: ReadonlyMap<Lane, LaneWorker>;
  log: Logger;
}

/** Keeps the leases in Postgres and the locks in BullMQ of everything that this process runs. */
export interface Heartbeat {
  /** From now on the lock of this job is renewed. */
  hold(lane: Lane, jobId: string, token: string): void;
  release(lane: Lane, jobId: string, token: string): void;
  /** One beat at once; attempts that are lost or being cancelled are stopped. */
  beat(): Promise<void>;
  close(): Promise<void>;
}

/** Starts beating: three times a lease. */
export function createHeartbeat({ db, leaseMs, lockMs, running, workers, log }: Options): Heartbeat {
  const held = new Map<Lane, Map<string, string>>();

  async function renew(): Promise<void> {
    const attempts = running.list();
    if (attempts.length === 0) return;
    const kept = await renewLeases(
      db,
      leaseMs,
      attempts.map(({ task }) => ({ id: task.id, attempt: task.attempt })),
    );
    const byId = new Map(kept.map((row) => [row.id, row]));
    for (const attempt of attempts) {
      const row = byId.get(attempt.task.id);
      // Only an attempt that still runs here can be lost; one that has just settled is missing too.
      if (!row && running.find(attempt.task.id) === attempt) attempt.stop('lost');
      else if (row?.status === 'cancelling') attempt.stop('cancelled');
    }
  }

  async function extendLocks(): Promise<void> {
    for (const [lane, jobs] of held) {
      if (jobs.size === 0) continue;
      const worker = workers.get(lane);
      await worker?.extendJobLocks([...jobs.keys()], [...jobs.values()], lockMs);
    }
  }

  async function beat(): Promise<void> {
    // Neither store may keep the other from its beat.
    const results = await Promise.allSettled([renew(), extendLocks()]);
    for (const result of results)
      if (result.status === 'rejected') log.warn({ err: result.reason }, 'a heartbeat failed');
  }

  const stop = repeat(Math.min(leaseMs, lockMs) / 3, beat, (error) => log.warn({ err: error }, 'a heartbeat failed'));

  return {
    hold(lane, jobId, token) {
      let jobs = held.get(lane);
      if (!jobs) {
        jobs = new Map();
        held.set(lane, jobs);
      }
      jobs.set(jobId, token);
    },
    release(lane, jobId, token) {
      const jobs = held.get(lane);
      if (jobs?.get(jobId) === token) jobs.delete(jobId);
    },
    beat,
    close: stop,
  };
}

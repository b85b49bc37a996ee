import type { Db } from '../db/connect.ts';
import { renewLeases } from '../db/tasks/run.ts';
import { repeat, within } from '../lifecycle.ts';
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
  /** Renews the leases at once; attempts that are lost or being cancelled are stopped. */
  beat(): Promise<void>;
  close(): Promise<void>;
}

/** Starts beating: three times a lease, and three times a lock. */
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

  /** While its store is away a call hangs, and must hold up neither the other lanes nor the next beat. */
  async function extendLocks(): Promise<void> {
    await Promise.all(
      [...held].map(async ([lane, jobs]) => {
        if (jobs.size === 0) return;
        const extended = workers.get(lane)?.extendJobLocks([...jobs.keys()], [...jobs.values()], lockMs);
        if (extended) await within(extended, lockMs / 3, `the queue of the lane ${lane}`);
      }),
    );
  }

  const onError = (error: unknown) => log.warn({ err: error }, 'a heartbeat failed');
  // Apart from each other: a lock lost with its store costs nothing, a lease costs the attempt.
  const stopRenewing = repeat(leaseMs / 3, renew, onError);
  const stopExtending = repeat(lockMs / 3, extendLocks, onError);

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
    beat: renew,
    async close() {
      await Promise.all([stopRenewing(), stopExtending()]);
    },
  };
}

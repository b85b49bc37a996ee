import type { Db } from '../db/connect.ts';
import { renewLeases } from '../db/tasks/run.ts';
import { repeat, within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { Lane } from '../tasks/lanes.ts';
import type { RunningAttempts } from './attempt.ts';
import type { Gate } from './gate.ts';
import type { LaneRunner } from './lane.ts';

interface Options {
  db: Db;
  leaseMs: number;
  lockMs: number;
  running: RunningAttempts;
  runners: ReadonlyMap<Lane, LaneRunner>;
  /** Judges why leases could not be renewed; is shut where nothing was heard in time. */
  gate: Pick<Gate, 'judge' | 'shut'>;
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
export function createHeartbeat({ db, leaseMs, lockMs, running, runners, gate, log }: Options): Heartbeat {
  const held = new Map<Lane, Map<string, string>>();
  let silent = false;

  async function renew(): Promise<void> {
    const attempts = running.list();
    if (attempts.length === 0) return;
    const askedAt = performance.now();
    const asked = renewLeases(
      db,
      leaseMs,
      attempts.map(({ task }) => ({ id: task.id, attempt: task.attempt })),
    );
    try {
      const kept = await within(asked, leaseMs / 3, 'the database');
      silent = false;
      const byId = new Map(kept.map((row) => [row.id, row]));
      for (const attempt of attempts) {
        const row = byId.get(attempt.task.id);
        if (row) attempt.leasedAt = askedAt;
        // Only an attempt that still runs here can be lost; one that has just settled is missing too.
        if (!row && running.find(attempt.task.id) === attempt) attempt.stop('lost');
        else if (row?.status === 'cancelling') attempt.stop('cancelled');
      }
    } catch (error) {
      silent = !isAnswer(error);
      if (silent) gate.shut(error);
      else gate.judge(error);
      throw error;
    }
  }

  /**
   * A database that refuses is away for all, and nobody takes anything from anybody. One that is silent may be so to this
   * process alone: a lease that has run out is then another worker's by now, and going on would only burden the model.
   */
  function stopWhatIsCutOff(): void {
    if (!silent) return;
    const since = performance.now() - leaseMs;
    for (const attempt of running.list()) if (attempt.leasedAt < since) attempt.stop('cut_off');
  }

  /** While its store is away a call hangs, and must hold up neither the other lanes nor the next beat. */
  async function extendLocks(): Promise<void> {
    await Promise.all(
      [...held].map(async ([lane, jobs]) => {
        if (jobs.size === 0) return;
        const extended = runners.get(lane)?.extendLocks([...jobs.keys()], [...jobs.values()], lockMs);
        if (extended) await within(extended, lockMs / 3, `the queue of the lane ${lane}`);
      }),
    );
  }

  const onError = (error: unknown) => log.debug({ err: error }, 'a heartbeat failed');
  // Apart from each other: a lock lost with its store costs nothing, a lease costs the attempt.
  const stopRenewing = repeat(leaseMs / 3, renew, onError);
  const stopExtending = repeat(lockMs / 3, extendLocks, onError);
  const watch = setInterval(stopWhatIsCutOff, Math.min(leaseMs / 10, 500));

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
      clearInterval(watch);
      await Promise.all([stopRenewing(), stopExtending()]);
    },
  };
}

/** Whether somebody answered, if only with a refusal: with a code of SQL, or of a port that nobody listens on. */
function isAnswer(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && !/^E(TIMEDOUT|HOSTUNREACH|NETUNREACH)$/.test(code);
}

import { isDatabaseAway, isTooMuch } from '../db/away.ts';
import type { ClaimedTask } from '../db/tasks/run.ts';
import { TaskError } from '../errors.ts';
import type { Awaiting, Usage } from '../tasks/tools.ts';
import type { Claimed } from './claims.ts';

/** Why a running attempt has to stop: `cut_off` is for a lease that nothing was heard of until it was over. */
export type StopReason = 'cancelled' | 'lost' | 'cut_off' | 'timeout' | 'shutdown';

/** What the signal of a stopped attempt carries. */
export class AttemptStopped extends Error {
  override readonly name = 'AttemptStopped';
  readonly reason: StopReason;

  constructor(reason: StopReason) {
    super(`the attempt was stopped: ${reason}`);
    this.reason = reason;
  }
}

/** What ends an attempt that has to wait for something outside; a task type lets it pass. */
export class Parked extends Error {
  override readonly name = 'Parked';
  readonly awaiting: Awaiting;
  /** When it is woken at the latest, from now on; `undefined` is never. */
  readonly untilMs: number | undefined;

  constructor(awaiting: Awaiting, untilMs: number | undefined) {
    super(`the task waits for ${awaiting}`);
    this.awaiting = awaiting;
    this.untilMs = untilMs;
  }
}

/** One run of a task in this process. */
export interface Attempt {
  task: ClaimedTask;
  signal: AbortSignal;
  /** When its lease was last asked for and given, by the clock of `performance`. */
  leasedAt: number;
  /** Stops it; the first reason counts. */
  stop(reason: StopReason): void;
  /** Told whenever a host begins to make text for it. */
  begun?: () => void;
  /** What the tools learned while it ran. */
  model: string | null;
  /** The digest of the model, and the label of the host that was called last. */
  digest: string | null;
  host: string | null;
  usage: Usage | null;
}

/** The number of an attempt among those that did not end only to wait outside. */
export function triesOf({ attempt, parkings }: Pick<ClaimedTask, 'attempt' | 'parkings'>): number {
  return attempt - parkings;
}

/** After so many attempts that were no failures, an outage of the database is one: the task may be what breaks the connection. */
const FORGIVEN_OUTAGES = 10;

/** What an error of a run means where it may be one of our database: that this is away is no failure of the task. */
export function asOutage(error: unknown, task: Pick<ClaimedTask, 'attempt' | 'parkings' | 'failures'>): unknown {
  const isForgiven = triesOf(task) - task.failures <= FORGIVEN_OUTAGES;
  if (!isForgiven || !isDatabaseAway(error) || isTooMuch(error)) return error;
  return new TaskError('upstream_unavailable', 'The database does not answer.', { later: true, cause: error });
}

/** The attempts that this process runs, by task. */
export interface RunningAttempts {
  start(claimed: Claimed): Attempt;
  end(attempt: Attempt): void;
  find(taskId: string): Attempt | undefined;
  list(): Attempt[];
  /** Stops what is said to be cancelled, in the words of `TASK_CHANNEL`. */
  hear(said: string): void;
  /** Stops all that run, and each that starts from now on. */
  stopAll(reason: StopReason): void;
}

/** Makes the register. An attempt's time-out starts with it. */
export function createRunningAttempts(): RunningAttempts {
  const running = new Map<string, { attempt: Attempt; timer: NodeJS.Timeout }>();
  let stopped: StopReason | undefined;

  return {
    start({ task, askedAt }) {
      const controller = new AbortController();
      const stop = (reason: StopReason) => controller.abort(new AttemptStopped(reason));
      const learned = { model: null, digest: null, host: null, usage: null };
      const attempt: Attempt = { task, signal: controller.signal, leasedAt: askedAt, stop, ...learned };
      const timer = setTimeout(() => stop('timeout'), task.timeout_ms);
      // The older attempt was taken away from this process, and its end would not be believed.
      const older = running.get(task.id);
      if (older) clearTimeout(older.timer);
      older?.attempt.stop('lost');
      running.set(task.id, { attempt, timer });
      if (stopped) stop(stopped);
      return attempt;
    },
    end(attempt) {
      const known = running.get(attempt.task.id);
      if (known?.attempt !== attempt) return;
      clearTimeout(known.timer);
      running.delete(attempt.task.id);
    },
    find: (taskId) => running.get(taskId)?.attempt,
    list: () => [...running.values()].map(({ attempt }) => attempt),
    hear(said) {
      const [what, id = '', number] = said.split(' ');
      const attempt = running.get(id)?.attempt;
      if (what !== 'cancelling' || !attempt) return;
      // What comes late may be of an attempt that has ended since; processes of an earlier version do not say of which.
      if (number === undefined || Number(number) === attempt.task.attempt) attempt.stop('cancelled');
    },
    stopAll(reason) {
      stopped = reason;
      for (const { attempt } of running.values()) attempt.stop(reason);
    },
  };
}

import { isTooMuch } from '../db/away.ts';
import { createBatch } from '../db/batch.ts';
import type { Db } from '../db/connect.ts';
import { claimLimited, type HeldBack } from '../db/tasks/claim-limited.ts';
import { type Claim, type ClaimedTask, claimTasks, type Settlement, settleTasks } from '../db/tasks/run.ts';
import type { Transition } from '../db/tasks/transition.ts';
import type { Logger } from '../log.ts';

/** A task that was taken, and when its lease was asked for, by the clock of `performance`: it ends no earlier than counted from then. */
export interface Claimed {
  task: ClaimedTask;
  askedAt: number;
}

/** Takes tasks and writes what became of them, many in one statement. */
export interface Claims {
  /** Takes a task; `undefined` when there is nothing to take. @throws when the database takes no claims */
  claim(claim: Claim): Promise<Claimed | HeldBack | undefined>;
  /** Writes an outcome, for as long as it takes; `undefined` when the attempt is no longer ours. */
  settle(settlement: Settlement): Promise<Transition | undefined>;
  /** From now on an outcome that cannot be written is given up. */
  stopSettling(): void;
}

interface Options {
  db: Db;
  /** What the rows call this process. */
  name: string;
  leaseMs: number;
  /** How many tasks of a user may run at a time, where nothing else was set for that user; 0 is no limit. */
  runningTasks: number;
  /** Hears every error of the database. */
  onError: (error: unknown) => void;
  log: Logger;
}

const MAX_BATCH = 200;
const RETRY_MS = 500;

/** Makes it. */
export function createClaims({ db, name, leaseMs, runningTasks, onError, log }: Options): Claims {
  const claimOnce = createBatch<Claim, ClaimedTask | undefined>({
    run: (claims) => claimTasks(db, name, leaseMs, claims, runningTasks),
    max: MAX_BATCH,
    parallel: 2,
  });
  const claimLeft = createBatch<Claim, ClaimedTask | HeldBack | undefined>({
    run: (claims) => claimLimited(db, name, leaseMs, claims, runningTasks),
    max: MAX_BATCH,
  });
  const settleOnce = createBatch<Settlement, Transition | undefined>({
    run: (all) => settleTasks(db, all),
    max: MAX_BATCH,
    parallel: 2,
    // What is too much for one statement together may be none of it alone.
    isolate: (error) => isFault(error) || isTooMuch(error),
  });
  let settling = true;

  return {
    async claim(claim) {
      const askedAt = performance.now();
      try {
        const task = (await claimOnce(claim)) ?? (await claimLeft(claim));
        return task && ('waitMs' in task ? task : { task, askedAt });
      } catch (error) {
        onError(error);
        throw error;
      }
    },
    async settle(given) {
      for (let settlement = given; ; ) {
        try {
          return await settleOnce(settlement);
        } catch (error) {
          if (!settling || (isFault(error) && settlement !== given)) throw error;
          if (isFault(error)) {
            log.error({ err: error, task_id: given.id }, 'an outcome cannot be stored; the task fails');
            settlement = unstorable(given);
            continue;
          }
          onError(error);
          log.debug({ err: error, task_id: given.id }, 'an outcome could not be written; trying again');
          await pause();
        }
      }
    },
    stopSettling() {
      settling = false;
    },
  };
}

const pause = () => new Promise((resolve) => setTimeout(resolve, RETRY_MS));

/** What is left of an outcome that Postgres refuses: that it was one. */
function unstorable({ id, attempt }: Settlement): Settlement {
  const error = { code: 'internal_error', message: 'The outcome of the task could not be stored.', retryable: false };
  return {
    id,
    attempt,
    status: 'failed',
    outcome: 'failed',
    output: null,
    error,
    model: null,
    usage: null,
    delay_ms: 0,
    new_job: false,
  };
}

/** Errors of SQL, of values and of their size do not go away by waiting; those of connections do. */
function isFault(error: unknown): boolean {
  return /^(2[123]|42|54)/.test(String((error as { code?: unknown }).code ?? '')) || error instanceof RangeError;
}

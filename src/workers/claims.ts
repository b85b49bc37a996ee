import { isTooMuch } from '../db/away.ts';
import { createBatch } from '../db/batch.ts';
import { type Db, isOutlived } from '../db/connect.ts';
import { claimLimited, type HeldBack, type ToldTask } from '../db/tasks/claim-limited.ts';
import type { HoldOptions } from '../db/tasks/holds.ts';
import { type Claim, type ClaimedTask, claimTasks, type Settlement, settleTasks } from '../db/tasks/run.ts';
import type { Transition } from '../db/tasks/transition.ts';
import type { Waiting } from '../db/tasks/waiting.ts';
import type { Logger } from '../log.ts';

/** A task that was taken, and when its lease was asked for, by the clock of `performance`: it ends no earlier than counted from then. */
export interface Claimed {
  task: ClaimedTask;
  askedAt: number;
  /** Whether it has a place that others may wait for. */
  limited?: true;
  /** The webhook deliveries that tell of the start. */
  told?: string[] | null;
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

interface Options extends HoldOptions {
  db: Db;
  /** What the rows call this process. */
  name: string;
  leaseMs: number;
  /** Told of tasks for which a place was found and that want a job. */
  onCalled: (called: Waiting[]) => void;
  /** Told of tasks that are held back since just now, for which a place may have come free in the same moment. */
  onHeld: (held: Array<Pick<Transition, 'user_id' | 'concurrency_key'>>) => void;
  /** Hears every error of the database. */
  onError: (error: unknown) => void;
  log: Logger;
}

const MAX_BATCH = 200;
const RETRY_MS = 500;
/** Under load a task is taken and ended so much later, and costs far less: a statement costs about as much for twenty as for one. */
const APART_MS = 10;

/** Makes it. */
export function createClaims({ db, name, leaseMs, onCalled, onHeld, onError, log, ...limits }: Options): Claims {
  const claimOnce = createBatch<Claim, ClaimedTask | undefined>({
    run: (claims) => claimTasks(db, name, leaseMs, claims, limits.everybody),
    max: MAX_BATCH,
    parallel: 2,
    apartMs: APART_MS,
  });
  const claimLeft = createBatch<Claim, ToldTask | HeldBack | undefined>({
    run: async (claims) => {
      const { claimed, called, held } = await claimLimited(db, name, leaseMs, claims, limits);
      if (called.length > 0) onCalled(called);
      if (held.length > 0) onHeld(held);
      return claimed;
    },
    max: MAX_BATCH,
  });
  const settleOnce = createBatch<Settlement, Transition | undefined>({
    run: (all) => settleTasks(db, all),
    max: MAX_BATCH,
    parallel: 2,
    apartMs: APART_MS,
    // What is too much for one statement together may be none of it alone.
    isolate: (error) => isFault(error) || isTooMuch(error),
  });
  let settling = true;

  return {
    async claim(claim) {
      const askedAt = performance.now();
      try {
        const free = await claimOnce(claim);
        if (free) return { task: free, askedAt };
        const left = await claimLeft(claim);
        if (!left || 'waitMs' in left) return left;
        const { deliveries: told, ...task } = left;
        return { task, askedAt, limited: true, told };
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
function unstorable({ id, attempt, own_webhook, follows }: Settlement): Settlement {
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
    own_webhook,
    follows,
  };
}

/** Errors of SQL, of values and of their size do not go away by waiting; those of connections, and of what one keeps, do. */
function isFault(error: unknown): boolean {
  if (isOutlived(error)) return false;
  return /^(2[123]|42|54)/.test(String((error as { code?: unknown }).code ?? '')) || error instanceof RangeError;
}

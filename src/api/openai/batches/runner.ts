import type { Transaction } from 'kysely';
import type { ModelRights } from '../../../clients/model-rights.ts';
import { isDatabaseAway } from '../../../db/away.ts';
import { type BatchRow, saveBatch, takeDueBatch } from '../../../db/batches.ts';
import type { Db } from '../../../db/connect.ts';
import { findUsed } from '../../../db/limits.ts';
import type { Database } from '../../../db/schema.ts';
import { findSubmitter } from '../../../db/tasks/bulk.ts';
import { findLimitsOf } from '../../../db/user-admin.ts';
import { repeat } from '../../../lifecycle.ts';
import type { Logger } from '../../../log.ts';
import { permits } from '../../../permissions.ts';
import { type AfterStore, tellMoved } from '../../../queues/after.ts';
import { briefly } from '../../routes/task-access.ts';
import type { PrepareContext } from '../../submit.ts';
import { step } from './step.ts';
import type { May, StepLimits, Stepped } from './step-parts.ts';

/**
 * Goes on with batches, a step at a time. A step is one transaction that holds the row of its batch, so any number of processes
 * may do it, and a process that is killed leaves nothing half done. No step waits for a task: a batch holds no place in a lane.
 */
export interface BatchRunner {
  /** There is something to do. */
  ring(): void;
  close(): Promise<void>;
}

interface Options extends PrepareContext, AfterStore {
  db: Db;
  /** What users may have, where nothing else was set for them; 0 is no limit. */
  userLimits: { waiting_tasks: number; tokens_per_day: number };
  limits: StepLimits;
  /** Which models a role may use. */
  modelRights: ModelRights;
  log: Logger;
  everyMs?: number;
}

const EVERY_MS = 300;
/** How long a batch is left alone while nothing happens in it, in its first minute and later. */
const LATER_MS = { fresh: 300, old: 2_000 };
/** The same where its user has as many tasks waiting as batches may add to: that takes longer to change. */
const NO_ROOM_MS = { fresh: 1_000, old: 5_000 };
const FRESH_MS = 60_000;
/** How long a batch whose step failed is left alone. */
const FAILED_MS = 60_000;

/** Starts to look, a few times a second. */
export function createBatchRunner(options: Options): BatchRunner {
  const { db, limits, log, everyMs = EVERY_MS } = options;
  /** Batches whose step failed here, and until when they are left alone, so that the others go on. */
  const failed = new Map<string, number>();
  /** Users whose turn it was, since the others have not had theirs: however many batches one has, everybody's go on. */
  const served = new Set<string>();
  let closing = false;
  let working: Promise<void> | undefined;

  async function one(): Promise<boolean> {
    let id: string | undefined;
    try {
      const stepped = await db.transaction().execute(async (trx) => {
        const batch = await takeDueBatch(trx, [...failed.keys()], [...served]);
        if (!batch) return undefined;
        id = batch.id;
        if (served.has(batch.user_id)) served.clear();
        served.add(batch.user_id);
        const may = (type: string) => mayOf(trx, batch, type, options);
        const done = await step({ ...options, ...limits, batch, trx, may });
        const age = batch.now.getTime() - batch.created_at.getTime() > FRESH_MS ? 'old' : 'fresh';
        const nextMs = { 'at once': 0, later: LATER_MS[age], 'no room': NO_ROOM_MS[age], ended: undefined }[done.next];
        await saveBatch(trx, batch.id, done.change, nextMs);
        return done;
      });
      if (!stepped) served.clear();
      if (!stepped) return false;
      await tell(stepped);
    } catch (error) {
      if (id === undefined || isDatabaseAway(error)) throw error;
      failed.set(id, Date.now() + FAILED_MS);
      log.error({ err: error, batch_id: id }, 'a step of a batch failed; it is tried again later');
    }
    return true;
  }

  /** Where the queue is away, the reconciler does it later: the rows say what is to be done. */
  async function tell({ accepted = [], moved = [] }: Stepped): Promise<void> {
    const jobs = accepted.map((row) => ({ ...row, kind: 'task' as const }));
    await briefly(tellMoved(moved, options, jobs));
  }

  async function work(): Promise<void> {
    for (const [id, until] of failed) if (Date.now() > until) failed.delete(id);
    while (!closing && (await one()));
  }

  const onError = (error: unknown) => log.debug({ err: error }, 'batches could not be looked at; tried again');
  /** One at a time in a process, whoever asks for it. */
  function turn(): Promise<void> {
    working ??= work().finally(() => {
      working = undefined;
    });
    return working;
  }
  const stop = repeat(everyMs, turn, onError);
  return {
    ring: () => void turn().catch(onError),
    async close() {
      closing = true;
      await stop();
      await working?.catch(onError);
    },
  };
}

/** How many more tasks a user may have waiting: half of the limit is left to what they ask for themselves. */
async function mayOf(
  trx: Transaction<Database>,
  { user_id, key_id }: BatchRow,
  type: string,
  { userLimits, modelRights }: Options,
): Promise<May> {
  const submitter = await findSubmitter(trx, user_id, key_id);
  if (!submitter || !permits(submitter.role, submitter.scopes ?? undefined, 'tasks:create'))
    return { forbidden: 'Whoever asked for this batch may not submit tasks any more.' };
  if (submitter.task_types && !submitter.task_types.includes(type))
    return { forbidden: `The API key may not submit tasks of the type ${type}.` };
  const own = (await findLimitsOf(trx, [user_id])).get(user_id);
  const waiting = own?.waiting_tasks ?? userLimits.waiting_tasks;
  const tokens = own?.tokens_per_day ?? userLimits.tokens_per_day;
  const half = Math.ceil(waiting / 2);
  const [used] = await findUsed(trx, [{ userId: user_id, upTo: half }]);
  const modelRefusal = modelRights.refusals(submitter.role);
  if (tokens > 0 && (used?.tokens ?? 0) >= tokens) return { room: 0, modelRefusal };
  const room = waiting > 0 ? half - (used?.waiting ?? 0) : Number.POSITIVE_INFINITY;
  return { room, modelRefusal };
}

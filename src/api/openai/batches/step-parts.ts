import type { Transaction } from 'kysely';
import type { BatchChange, BatchRow } from '../../../db/batches.ts';
import type { BatchError, Database } from '../../../db/schema.ts';
import type { TaskRow } from '../../../db/tasks/read.ts';
import type { Transition } from '../../../db/tasks/transition.ts';
import type { Dispatcher } from '../../../queues/dispatcher.ts';
import type { PrepareContext } from '../../submit.ts';
import type { LineContext } from './lines.ts';

/** What a batch may take. */
export interface StepLimits {
  /** The most lines of a batch. */
  maxLines: number;
  /** The most bytes of a line. */
  maxLineBytes: number;
  /** How many tasks of a batch wait and run at a time, so that it takes nobody's place and no limit of its user. */
  window: number;
}

/** How many more tasks a user may have waiting, and what is wrong with a model; or why there can be none any more. */
export type May = { room: number; modelRefusal?: (model: string) => string | undefined } | { forbidden: string };

/** A batch that is gone on with. */
export interface StepContext extends PrepareContext, StepLimits {
  batch: BatchRow & { late: boolean; now: Date };
  trx: Transaction<Database>;
  dispatcher: Pick<Dispatcher, 'receive'>;
  /** What the user may submit now of such tasks. */
  may(type: string): Promise<May>;
}

/** What came of a step, apart from what it wrote. */
export interface Stepped {
  change: BatchChange;
  /** Tasks that want a job, and those that were moved. */
  accepted?: TaskRow[];
  moved?: Transition[];
  /** Whether there is more to do at once, or only when something has happened, here or with what else its user has waiting; `ended` is never. */
  next: 'at once' | 'later' | 'no room' | 'ended';
}

/** What one step takes, so that none is long and none holds much. */
export const STEP = { lines: 500, bytes: 1_048_576, stored: 262_144 };

/** What a line of which there is no task is called in a file. */
export const idOf = (batch: BatchRow, line: number) => `batch_req_${batch.id}_${line}`;

/** What a batch comes to whose file is gone. */
export const FILE_DELETED: BatchError = {
  ...{ code: 'file_deleted', message: 'The file was deleted before all of its lines were done.', line: null },
};

export const lineContext = (context: StepContext): LineContext => ({
  ...context,
  maxBytes: context.maxLineBytes,
  expiresInMs: Math.max(1_000, context.batch.expires_at.getTime() - context.batch.now.getTime()),
});

/** How long work may keep everybody else in the process waiting. */
const STRETCH_MS = 10;

/** Lets the others in the process go on, where it was long since they could. */
export function breather(): () => Promise<void> {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < STRETCH_MS) return;
    await new Promise(setImmediate);
    since = performance.now();
  };
}

/** A change but for how far the file is read: that is a number here, and text in a row. */
export const without = ({ read_to: _, ...change }: BatchChange) => change;

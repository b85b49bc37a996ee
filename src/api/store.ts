import { createBatch } from '../db/batch.ts';
import type { Db } from '../db/connect.ts';
import { findKey, type KeyUse, type Taken } from '../db/idempotency.ts';
import { type Accepted, acceptedAt, acceptMany, type NewTask, type Submitted } from '../db/tasks/accept.ts';
import { acceptKeyed, type KeyFull, looksAtKeys } from '../db/tasks/accept-keyed.ts';
import { findTasks, type TaskRow } from '../db/tasks/read.ts';
import { ProblemError } from '../errors.ts';
import { type AfterStore, tellMoved } from '../queues/after.ts';
import type { SecretBox } from '../secretbox.ts';
import { type Described, inPart, traceparent } from '../telemetry/tracing.ts';
import { keyRefused } from './idempotency.ts';
import type { Admission } from './limits/admission.ts';
import { OpenAiError } from './openai/error.ts';
import { briefly } from './routes/task-access.ts';

/** A task that is ready to be stored, and its webhook secret where it was made here. */
export interface MadeTask {
  task: NewTask;
  secret: string | undefined;
}

/** What was stored, in the order given. */
export interface StoredTasks {
  rows: TaskRow[];
  /** What belongs to each row but stands in no row. */
  secrets: Array<string | undefined>;
  /** Whether it was an earlier request with the same key that stored them; the rows are as they were then. */
  again: boolean;
}

/**
 * Stores tasks together with those of other callers, and puts them into their lanes. With a key they are stored once, however
 * often the request comes, and a repetition gets the answer of then.
 * @param make looks at the request and makes them. What it refuses today does not stand before the first answer, but for
 *   `forbidden`: who may not ask any more gets none
 * @throws ProblemError where the key stands for something else, or a concurrency key is taken
 */
export type StoreTasks = (make: () => MadeTask[] | Promise<MadeTask[]>, key?: KeyUse) => Promise<StoredTasks>;

/** What is kept under a key: what the rows do not say, or not for ever. */
interface Receipt {
  batchId: string | null;
  tasks: Array<
    Pick<NewTask, 'id' | 'priority' | 'max_attempts' | 'agent_id'> & {
      secret: string | undefined;
      /** Receipts of earlier versions do not have it. */
      expires_in_ms?: number | null;
    }
  >;
}

type Answered = Extract<Taken, { is: 'answered' }>;

const MAX_SUBMISSIONS_A_STATEMENT = 100;
/** How long a submission waits for the statements before it; its own may then take five seconds more. */
const MAX_WAIT_MS = 3_000;

/** Makes it. */
export function createStore({
  db,
  limits,
  box,
  ...after
}: AfterStore & { db: Db; limits: Admission; box: SecretBox }): StoreTasks {
  const received = ({ tasks, ...more }: Submitted): Submitted => ({ ...more, tasks: after.dispatcher.receive(tasks) });

  const accept = createBatch<Submitted, Accepted>({
    run: (submitted) => acceptMany(db, submitted.map(received)),
    max: MAX_SUBMISSIONS_A_STATEMENT,
    parallel: 2,
    limit: { items: 2_000, ms: MAX_WAIT_MS },
  });

  // A few at a time: each has a connection to itself, on which it may wait for another of the same key.
  const acceptAlone = createBatch<Submitted, Accepted | KeyFull>({
    run: async (submitted) => {
      const { accepted, superseded } = await acceptKeyed(db, received(submitted[0] as Submitted));
      if (superseded.length > 0) await briefly(tellMoved(superseded, after));
      return [accepted];
    },
    max: 1,
    parallel: 2,
    limit: { items: 2_000, ms: MAX_WAIT_MS },
  });

  function receiptOf(made: MadeTask[]): Buffer {
    const tasks = made.map(({ task: { id, priority, max_attempts, agent_id, expires_in_ms }, secret }) => ({
      ...{ id, priority, max_attempts, agent_id, expires_in_ms, secret },
    }));
    return box.seal(JSON.stringify({ batchId: made[0]?.task.batch_id ?? null, tasks } satisfies Receipt));
  }

  async function acceptWithinLimits({ tasks, key }: Submitted): Promise<Accepted | KeyFull> {
    let done: () => void;
    try {
      done = await limits.admit(tasks[0]?.user_id ?? '', tasks.length);
    } catch (refusal) {
      // A repetition is not refused because of the room that the first request has taken.
      const first = key && (await findKey(db, key));
      if (first) return first;
      throw refusal;
    }
    return (looksAtKeys(tasks) ? acceptAlone : accept)({ tasks, key }).finally(done);
  }

  /** What an earlier request got. @param made what would be stored today, of which a task takes the place of one that is deleted */
  async function asThen(
    { answer, created_at }: Answered,
    made: MadeTask[] | undefined,
  ): Promise<StoredTasks | undefined> {
    const { batchId, tasks } = JSON.parse(box.open(answer)) as Receipt;
    const now = await findTasks(
      db,
      tasks.map(({ id }) => id),
    );
    const stored = new Map(now.map((row) => [row.id, row]));
    const rows = tasks.flatMap(({ secret: _, ...known }, index) => {
      const row = stored.get(known.id);
      const today = made?.[index]?.task;
      if (row) return rowThen(created_at, row, known);
      return today ? acceptedAt(created_at, [{ ...today, ...known, batch_id: batchId } as NewTask]) : [];
    });
    if (rows.length < tasks.length) return undefined;
    return { rows, secrets: tasks.map(({ secret }) => secret), again: true };
  }

  /** The answer to an earlier request with the key, where there is one, in the place of a refusal. */
  async function insteadOf(refusal: unknown, key: KeyUse | undefined): Promise<StoredTasks> {
    const refused = refusal instanceof OpenAiError || (refusal instanceof ProblemError && refusal.code !== 'forbidden');
    const first = refused && key ? await findKey(db, key) : undefined;
    if (first && first.is !== 'answered') throw keyRefused(first.is);
    const again = first && (await asThen(first, undefined));
    if (!again) throw refusal;
    return again;
  }

  async function storeMade(made: MadeTask[], key: KeyUse | undefined): Promise<StoredTasks> {
    // Who works on them belongs to the same trace.
    const trace = traceparent();
    if (trace) for (const { task } of made) task.traceparent = trace;
    const tasks = made.map(({ task }) => task);
    const accepted = await acceptWithinLimits({ tasks, key: key && { ...key, answer: receiptOf(made) } });
    if (accepted.is === 'stored') {
      // The rows are durable: whether a job could be added changes nothing in the answer.
      await briefly(after.dispatcher.enqueue(accepted.rows.map((row) => ({ ...row, kind: 'task' as const }))));
      return { rows: accepted.rows, secrets: made.map(({ secret }) => secret), again: false };
    }
    if (accepted.is === 'full') throw keyFull(tasks, accepted);
    if (accepted.is !== 'answered') throw keyRefused(accepted.is);
    return (await asThen(accepted, made)) as StoredTasks;
  }

  return async (make, key) => {
    let made: MadeTask[];
    try {
      made = await make();
    } catch (refusal) {
      return insteadOf(refusal, key);
    }
    return inPart(
      () => sending(made),
      () => storeMade(made, key),
    );
  };
}

/** A row as it was when it was accepted. What its user has deleted meanwhile stays deleted. */
function rowThen(
  at: Date,
  row: TaskRow,
  { expires_in_ms, ...known }: Omit<Receipt['tasks'][number], 'secret'>,
): TaskRow {
  const scheduled_for = row.scheduled_for?.toISOString() ?? null;
  const given = { ...row, ...known, scheduled_for, delay_ms: null, expires_in_ms: expires_in_ms ?? null } as NewTask;
  const then = acceptedAt(at, [given])[0] as TaskRow;
  const expires_at = expires_in_ms === undefined ? row.expires_at : then.expires_at;
  return { ...then, created_at: row.created_at, expires_at, payload_deleted_at: row.payload_deleted_at };
}

function sending(made: MadeTask[]): Described {
  const { lane = '', id = '' } = made[0]?.task ?? {};
  return {
    name: `send ${lane}`,
    kind: 'producer',
    attributes: {
      'messaging.system': 'bullmq',
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
      'messaging.destination.name': lane,
      ...(made.length === 1 ? { 'messaging.message.id': id } : { 'messaging.batch.message_count': made.length }),
    },
  };
}

function keyFull(tasks: NewTask[], { index, holders }: KeyFull): ProblemError {
  const { concurrency_key: key, concurrency_limit: limit = 1 } = tasks[index] as NewTask;
  const held = holders.length === 0 ? 'others of the same batch' : holders.join(', ');
  return new ProblemError(
    'concurrency_limit',
    `Of the tasks with the concurrency key ${JSON.stringify(key)} at most ${limit} may be there that have not ended. It is held by ${held}.`,
    {
      tasks: holders,
      errors: [{ pointer: `#${tasks.length > 1 ? `/tasks/${index}` : ''}/concurrency_key`, detail: 'is taken' }],
    },
  );
}

import { isDatabaseAway } from '../../db/away.ts';
import type { Db } from '../../db/connect.ts';
import { hasEnded } from '../../db/schema.ts';
import type { TaskRow } from '../../db/tasks/read.ts';
import { type FieldError, ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import type { Places } from '../../queues/places.ts';
import type { Workflows } from '../../workflows/engine.ts';
import { cancelOwnTask } from '../cancel.ts';
import { beyondKey, keyRefusals, usualPriority } from '../key-limits.ts';
import type { RouteInput } from '../route.ts';
import { noSuchTask } from '../routes/task-access.ts';
import type { MadeTask, StoreTasks } from '../store.ts';
import { type PrepareContext, prepareTask } from '../submit.ts';
import { createTaskReader } from '../task-reader.ts';
import { invalid } from '../validate.ts';
import type { Waiters, Watch } from '../waiters.ts';

/** Who asks, as far as a call needs it. */
export type Asker = Pick<
  RouteInput<unknown, unknown>,
  'principal' | 'requestId' | 'signal' | 'stillGood' | 'holdOpen' | 'key'
>;

/** The task of a call, and whether an earlier request with the same `Idempotency-Key` made it. */
export interface Called {
  task: TaskRow;
  again: boolean;
}

/** What a call asks of the queue, made of its request: what is refused there today is no answer to a repetition, as `StoreTasks` says. */
export type MakeCall = () => Call | Promise<Call>;

/** What a call asks of the queue. */
export interface Call {
  type: string;
  input: unknown;
  metadata?: Record<string, unknown>;
  tags?: string[];
  /** Where a field of the input stands in the body of the call, by the beginnings of JSON pointers. */
  places?: ReadonlyArray<readonly [input: string, body: string]>;
}

/** Calls of clients that wait for their answer, each of them a task. */
export interface Calls {
  /**
   * Stores the task of a call, or finds that of an earlier request with its key.
   * @throws ProblemError where it cannot be taken, with pointers into the body of the call
   */
  submit(call: MakeCall, asker: Asker, watched: boolean): Promise<Called>;
  /**
   * Does the task of a call and answers it once it has ended, however long that takes. It is cancelled when nobody is there any
   * more who waits for it: the client went away, its credential is not good any more, or the server stops.
   */
  run(call: MakeCall, asker: Asker): Promise<Called>;
  /**
   * Cancels the task of a call, as far as that is possible now. One with an `Idempotency-Key` is left alone, because the same request
   * comes for its answer, unless its credential ended.
   */
  cancel(task: TaskRow, asker: Pick<Asker, 'principal' | 'key'>, reason: string): Promise<void>;
}

interface Options extends PrepareContext {
  db: Db;
  workflows: Pick<Workflows, 'advance'>;
  waiters: Waiters;
  store: StoreTasks;
  dispatcher: Dispatcher;
  places: Places;
}

/** How often to look whether the credential of who waits is still good. */
const LOOK_MS = 10_000;
/** When to ask a database again that was away. */
const AWAY_MS = 1_000;

/** Why a task of a call was cancelled, for its timeline. */
export const GONE = 'the client went away';
export const UNAUTHORIZED = 'the credential ended';
export const CLOSING = 'the server stops';

/** Makes it. */
export function createCalls(options: Options): Calls {
  const { db, waiters, store } = options;
  const read = createTaskReader(db);

  function made(
    { type, input, metadata = {}, tags = [], places = [] }: Call,
    { principal, requestId }: Asker,
    watched: boolean,
  ) {
    const refused = keyRefusals({ type, input }, principal, '#');
    if (refused.length > 0) throw beyondKey(refused.map((error) => placed(error, [...places, ['/type', '']])));
    const prepared = prepareTask(
      { type, input, metadata, tags },
      {
        ...{ userId: principal.userId, requestId, batchId: null, watched, pointer: '#' },
        usualPriority: usualPriority(principal),
      },
      options,
    );
    if ('task' in prepared) return prepared;
    throw invalid(prepared.errors.map((error) => placed(error, places)));
  }

  async function stored(make: () => Promise<MadeTask>, { key }: Asker): Promise<Called> {
    const { rows, again } = await store(async () => [await make()], key);
    const [row] = rows as [TaskRow];
    if (!again) return { task: row, again };
    // What was stored is as it was then.
    const task = await read(row.id);
    if (!task || task.payload_deleted_at !== null) throw noSuchTask();
    return { task, again };
  }

  const submit = (call: MakeCall, asker: Asker, watched: boolean) =>
    stored(async () => made(await call(), asker, watched), asker);

  async function cancel(task: TaskRow, { principal, key }: Pick<Asker, 'principal' | 'key'>, reason: string) {
    if (key && reason !== UNAUTHORIZED) return;
    // Where it cannot be cancelled it runs to its end, and what came of it is there to be read.
    await cancelOwnTask(options, task, principal, reason).catch(() => {});
  }

  /** The task where it has ended, asked only when something may have happened; `away` where nobody can say now. */
  async function look(watch: Watch, id: string): Promise<TaskRow | 'away' | undefined> {
    if (!watch.changed()) return undefined;
    try {
      const task = await read(id);
      if (!task) throw noSuchTask();
      return hasEnded(task.status) ? task : undefined;
    } catch (error) {
      // The task goes on meanwhile: an error would only bring the same request again, as a second task.
      if (!isDatabaseAway(error)) throw error;
      watch.stir();
      return 'away';
    }
  }

  async function awaitEnd(watch: Watch, task: TaskRow, asker: Asker): Promise<TaskRow> {
    for (let away = false; ; ) {
      const more = await watch.wait(away ? AWAY_MS : LOOK_MS, asker.signal);
      if (asker.signal.aborted) {
        await cancel(task, asker, GONE);
        throw noSuchTask();
      }
      const seen = await look(watch, task.id);
      if (seen && seen !== 'away') return seen;
      away = seen === 'away';
      if (!more) {
        await cancel(task, asker, CLOSING);
        throw serverStops();
      }
      if (await asker.stillGood().catch(() => true)) continue;
      await cancel(task, asker, UNAUTHORIZED);
      throw new ProblemError('invalid_token', 'The token or API key ended while the task was running.');
    }
  }

  return {
    submit,
    cancel,
    async run(call, asker) {
      let watch = undefined as Watch | undefined;
      const make = async () => {
        const prepared = made(await call(), asker, true);
        watch = waiters.watch(prepared.task.id);
        return prepared;
      };
      try {
        asker.holdOpen();
        const { task, again } = await stored(make, asker);
        if (again) {
          watch?.close();
          watch = waiters.watch(task.id);
          watch.ring();
        }
        return { task: await awaitEnd(watch as Watch, task, asker), again };
      } finally {
        watch?.close();
      }
    },
  };
}

/** What a client is told that waits while the server stops. */
export function serverStops(): ProblemError {
  return new ProblemError('temporary-reduced-capacity', 'The server stops. Send the same request again.', {
    headers: { 'Retry-After': '1' },
  });
}

/** An error in a task, or its input, as one in the body of a call. */
export function placed({ pointer, detail }: FieldError, places: ReadonlyArray<readonly [string, string]>): FieldError {
  const inside = pointer.replace(/^#(?:\/input(?=\/|$))?/, '');
  const [input = '', body = ''] = places.find(([one]) => inside === one || inside.startsWith(`${one}/`)) ?? [];
  return { detail, pointer: `#${body}${inside.slice(input.length)}` };
}

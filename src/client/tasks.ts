import { TaskFailedError } from './errors.ts';
import { type StreamOptions, streamTask, type TaskEvent, type TimelineEvent } from './events.ts';
import { type Listing, listing, type PageQuery } from './pages.ts';
import type { Call, CallOptions, Query, Transport } from './transport.ts';
import type {
  InputOf,
  NewTask,
  OutputOf,
  Status,
  SubmittedTask,
  Task,
  TaskFailure,
  TaskFilter,
  TaskOptions,
  TypeName,
  Usage,
} from './types.ts';
import { type WaitOptions, waitForTask } from './wait.ts';
import type { Delivery } from './webhooks.ts';
import { workflowTaskCalls } from './workflows.ts';

/** What a call that makes something takes. */
export interface CreateOptions extends CallOptions {
  /** A key of your own, so that the same call can be made again after a crash; a random one where it is not said. */
  idempotencyKey?: string;
}

export type RunOptions = TaskOptions & WaitOptions & CreateOptions;

/** The calls for tasks. */
export function taskCalls(transport: Transport) {
  const path = (id: string, below = '') => `/api/v1/tasks/${encodeURIComponent(id)}${below}`;
  const get = async <T>(where: string, options: CallOptions = {}) =>
    (await transport.send<T>({ method: 'GET', path: where, ...options })).body;
  const post = async <T>(where: string, body: unknown, more: Partial<Call> = {}) =>
    (await transport.send<T>({ method: 'POST', path: where, body, ...more })).body;

  return {
    /** Hands a task in; it is stored when this resolves. Sent again, where the answer is lost, it is still one task. */
    submit: <T extends TypeName>(task: NewTask<T>, options: CreateOptions = {}) =>
      post<SubmittedTask<OutputOf<T>>>('/api/v1/tasks', task, { creates: true, ...options }),

    /** Hands up to 1,000 tasks in, all or none. */
    submitBatch: (tasks: readonly NewTask[], options: CreateOptions = {}) =>
      post<{ batch_id: string; tasks: SubmittedTask[] }>(
        '/api/v1/tasks/batch',
        { tasks },
        { creates: true, ...options },
      ),

    /** Hands a task in and waits for it. @throws TaskFailedError when it did not succeed */
    async run<T extends TypeName>(type: T, input: InputOf<T>, options: RunOptions = {}): Promise<Task<OutputOf<T>>> {
      const { signal, timeoutMs, onProgress, idempotencyKey, ...more } = options;
      const submit: Call = {
        method: 'POST',
        path: '/api/v1/tasks',
        body: { type, input, ...more },
        creates: true,
        idempotencyKey,
      };
      return succeeded(await waitForTask<OutputOf<T>>(transport, undefined, { signal, timeoutMs, onProgress }, submit));
    },

    /** Waits until a task has ended, however it ends. */
    wait: <O = unknown>(id: string, options: WaitOptions = {}): Promise<Task<O>> =>
      waitForTask<O>(transport, id, options),

    /** Everything that happens to a task, as it happens, until it has ended. */
    stream: <O = unknown>(id: string, options: StreamOptions = {}): AsyncGenerator<TaskEvent<O>, void, undefined> =>
      streamTask<O>(transport, id, options),

    get: <O = unknown>(id: string, options?: CallOptions) => get<Task<O>>(path(id), options),

    /** Newest first. */
    list: (filter: TaskFilter & PageQuery = {}, options?: CallOptions): Listing<Task> =>
      listing<Task>(transport, '/api/v1/tasks', filter as Query & PageQuery, options),

    /** A waiting task is `cancelled` at once, a running one `cancelling` for a moment. */
    cancel: (id: string, options: CallOptions = {}) => post<Task>(path(id, '/cancel'), undefined, options),

    /** Runs an ended task again; with an `input` it is a new task that names its origin. */
    retry: (id: string, { input, ...options }: CreateOptions & { input?: unknown } = {}) =>
      post<Task>(path(id, '/retry'), input === undefined ? undefined : { input }, { creates: true, ...options }),

    /** Every attempt that has ended, in order. */
    attempts: (id: string, query: PageQuery = {}, options?: CallOptions): Listing<Attempt> =>
      listing<Attempt>(transport, path(id, '/attempts'), { ...query }, options),

    /** Everything that happened to a task, in order. */
    timeline: (id: string, query: PageQuery = {}, options?: CallOptions): Listing<TimelineEvent> =>
      listing<TimelineEvent>(transport, path(id, '/timeline'), { ...query }, options),

    /** Deletes what is in an ended task: input, output and whatever else its user wrote. */
    delete: async (id: string, options: CallOptions = {}): Promise<void> => {
      await transport.send({ method: 'DELETE', path: path(id), ...options });
    },

    /** Why it waits, at which place, and when it will probably start. */
    explain: (id: string, options?: CallOptions) => get<Explanation>(path(id, '/explain'), options),

    /** Steers all tasks that a filter chooses, as a task with progress; its output says how many. */
    bulk: (bulk: Bulk, options: CreateOptions = {}) =>
      post<Task<BulkResult>>('/api/v1/tasks/bulk', readable(bulk), { creates: true, ...options }),

    /** How many tasks that would be; `null` where they are more than 10,000. */
    countBulk: async (bulk: Bulk, options: CallOptions = {}) =>
      (await post<{ matched: number | null }>('/api/v1/tasks/bulk', { ...readable(bulk), dry_run: true }, options))
        .matched,

    ...workflowTaskCalls(transport),

    /** The webhook messages about a task. */
    deliveries: (id: string, query: PageQuery = {}, options?: CallOptions): Listing<Delivery> =>
      listing<Delivery>(transport, path(id, '/deliveries'), { ...query }, options),

    /** A short token that reads and streams this task alone, for a browser. */
    token: (id: string, options: CreateOptions = {}) =>
      post<{ access_token: string; token_type: 'Bearer'; expires_in: number }>(path(id, '/token'), undefined, {
        creates: true,
        ...options,
      }),
  };
}

/** Why a task waits, and when it will probably start. */
export interface Explanation {
  status: Status;
  position: number | null;
  position_is_exact: boolean | null;
  expected_start: { earliest: string; likely: string; latest: string } | null;
  not_before: string | null;
  /** One word; `null` once it does not wait. */
  reason: string | null;
  /** The same for people, and what can be done. */
  detail: string;
}

/** What to do to all tasks that a filter chooses; `all` in the place of a filter means every one. */
export interface Bulk {
  action: 'cancel' | 'retry' | 'delete';
  filter?: TaskFilter;
  all?: true;
  /** Whose tasks, for those who may: `any`, or the id of a user. */
  owner?: string;
}

export interface BulkResult {
  matched: number;
  changed: number;
  skipped: number;
  failed: number;
}

/** In a body several statuses or types are one text, as in a query. */
function readable({ filter, ...bulk }: Bulk) {
  const joined = (some?: string | string[]) => some && [some].flat().join(',');
  return filter ? { ...bulk, filter: { ...filter, status: joined(filter.status), type: joined(filter.type) } } : bulk;
}

/** One run of a task that has ended. */
export interface Attempt {
  attempt: number;
  worker: string | null;
  outcome: 'completed' | 'failed' | 'retry' | 'released' | 'cancelled' | 'lost' | 'parked';
  model: string | null;
  /** What the name stood for, and the label of the host that ran it. */
  model_digest: string | null;
  host: string | null;
  usage: Usage | null;
  error: TaskFailure | null;
  started_at: string | null;
  ended_at: string;
}

/** The task again, when it succeeded. @throws TaskFailedError */
export function succeeded<O>(task: Task<O>): Task<O> {
  if (task.status !== 'completed') throw new TaskFailedError(task);
  return task;
}

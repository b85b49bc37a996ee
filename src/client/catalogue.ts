import { type Listing, listing } from './pages.ts';
import type { CallOptions, Transport } from './transport.ts';
import type { Status } from './types.ts';

/** A task type as the server describes it. */
export interface TaskTypeInfo {
  name: string;
  title: string;
  summary: string;
  queue: string;
  defaults: { max_attempts: number; timeout_seconds: number; priority: number };
  /** JSON Schema, draft 2020-12. */
  input_schema: Record<string, unknown>;
  output_schema: Record<string, unknown>;
  examples: Array<Record<string, unknown>>;
}

/** A lane with its tasks by status; those that ended are counted for the last hour. */
export interface QueueInfo {
  name: string;
  paused: boolean;
  paused_at: string | null;
  paused_by: string | null;
  counts: Record<Status, number>;
  /** How many of those that run wait for something outside, so that no worker holds them. */
  parked: number;
  /** How many tasks workers would have in their hands if there were enough of them. */
  demand: number;
  oldest_waiting_seconds: number;
  /** Over the last five minutes and the present one, as the workers count it. */
  throughput: {
    started_per_minute: number;
    completed_per_minute: number;
    failed_per_minute: number;
    mean_run_ms: number;
  };
}

/** A process that works; nulls where it says nothing of itself. */
export interface WorkerInfo {
  name: string;
  version: string | null;
  /** The queues that it serves, by name: how many at a time, and how many now. */
  lanes: { [queue in QueueInfo['name']]?: { concurrency: number; running: number } | undefined };
  /** What it leaves alone for a moment because it keeps failing. */
  down: Array<{ dependency: 'ollama' | 'qdrant'; model: string | null }>;
  /** Models that it waits for while their host loads them. */
  loading: Array<{ model: string; requested: boolean }>;
  started_at: string | null;
  seen_at: string | null;
  /** How many tasks it has in its hands. */
  running_total: number;
  /** Those of them that run longest; where they are fewer than `running_total`, the list is cut. */
  running: Array<{
    id: string;
    type: string;
    lane: string;
    attempt: number;
    user_id: string;
    status: Status;
    started_at: string;
    lease_until: string;
  }>;
}

export interface Account {
  id: string;
  username: string;
  email: string;
  role: 'admin' | 'operator' | 'user' | 'viewer';
  is_active: boolean;
  created_at: string;
  last_login_at: string | null;
  permissions: string[];
}

/** The calls for what there is: types, queues, workers, and the own account. */
export function catalogueCalls(transport: Transport) {
  const list = <T>(path: string, options?: CallOptions): Listing<T> => listing<T>(transport, path, {}, options);
  const turn = (name: string, verb: 'pause' | 'resume', options: CallOptions = {}) =>
    transport
      .send<Pick<QueueInfo, 'name' | 'paused' | 'paused_at' | 'paused_by'>>({
        method: 'POST',
        path: `/api/v1/monitoring/queues/${encodeURIComponent(name)}/${verb}`,
        ...options,
      })
      .then(({ body }) => body);

  return {
    taskTypes: { list: (options?: CallOptions) => list<TaskTypeInfo>('/api/v1/task-types', options) },
    queues: {
      list: (options?: CallOptions) => list<QueueInfo>('/api/v1/monitoring/queues', options),
      /** A paused queue goes on accepting, and starts nothing. */
      pause: (name: string, options?: CallOptions) => turn(name, 'pause', options),
      resume: (name: string, options?: CallOptions) => turn(name, 'resume', options),
    },
    workers: { list: (options?: CallOptions) => list<WorkerInfo>('/api/v1/monitoring/workers', options) },
    /** Who this client is, and what it may do. */
    me: async (options: CallOptions = {}) =>
      (await transport.send<Account>({ method: 'GET', path: '/api/v1/auth/me', ...options })).body,
  };
}

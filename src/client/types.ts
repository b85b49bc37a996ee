import type { TaskTypes } from './task-types.ts';

export type { TaskTypes } from './task-types.ts';

/** The names of the task types that the product brings. */
export type TaskTypeName = keyof TaskTypes;

/** The name of any task type; an editor offers those of the product. */
export type TypeName = TaskTypeName | (string & {});

/** What a task of this type takes; any object where the type is not one of the product's own. */
export type InputOf<T extends string> = T extends TaskTypeName ? TaskTypes[T]['input'] : Record<string, unknown>;

/** What a task of this type gives. */
export type OutputOf<T extends string> = T extends TaskTypeName ? TaskTypes[T]['output'] : unknown;

export type Status =
  | 'scheduled'
  | 'pending'
  | 'running'
  | 'cancelling'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'expired';

const ENDED: readonly string[] = ['completed', 'failed', 'cancelled', 'expired'];

/** Whether nothing but a retry moves a task out of this status. */
export function hasEnded(status: Status): boolean {
  return ENDED.includes(status);
}

/** How far a task is, as it says itself. */
export interface Progress {
  percent: number | null;
  message: string | null;
}

/** Why a task did not succeed. */
export interface TaskFailure {
  code: string;
  message: string;
  retryable: boolean;
}

/** How many tasks with the same key run at a time, and what happens to those beyond. */
export interface ConcurrencyKey {
  key: string;
  limit: number;
  policy: 'queue' | 'cancel_running' | 'reject';
}

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  load_ms: number;
  run_ms: number;
}

/** A task as the API shows it. Times are ISO 8601 in UTC. `O` is the type of its output. */
export interface Task<O = unknown> {
  id: string;
  type: string;
  title: string | null;
  status: Status;
  /** 1 is first, 10 last. */
  priority: number;
  /** `null` in a task of somebody else that you may see without its payload. */
  input: unknown;
  /** There once the task is `completed`. */
  output: O | null;
  error: TaskFailure | null;
  progress: Progress | null;
  attempt: number;
  max_attempts: number;
  /** How many of its attempts failed; with `max_attempts` of them it is given up. */
  failures: number;
  queue_position: number | null;
  metadata: Record<string, unknown> | null;
  tags: string[];
  model: string | null;
  usage: Usage | null;
  agent_id: string | null;
  parent_id: string | null;
  batch_id: string | null;
  /** The task that this one was made from by a retry with another input. */
  origin_id: string | null;
  schedule_id: string | null;
  concurrency_key: ConcurrencyKey | null;
  user_id: string;
  created_at: string;
  scheduled_for: string | null;
  started_at: string | null;
  completed_at: string | null;
  expires_at: string | null;
  cancel_reason: string | null;
  /** Since when what its user wrote, and what came of it, is deleted. */
  payload_deleted_at: string | null;
  urls: { self: string; cancel: string; retry: string; events: string };
}

/** A task as the answer to its submission shows it: the secret that was made for its own webhook is in no other. */
export type SubmittedTask<O = unknown> = Task<O> & { webhook_secret?: string };

/** What may be said of a task besides its type and input. */
export interface TaskOptions {
  title?: string;
  /** 1 (first) to 10 (last); 5 where it is not said. */
  priority?: number;
  metadata?: Record<string, unknown>;
  tags?: string[];
  agent_id?: string;
  /** ISO 8601, or a Date. */
  scheduled_for?: string | Date;
  delay_seconds?: number;
  expires_in_seconds?: number;
  timeout_seconds?: number;
  max_attempts?: number;
  /** Of the tasks with the same key so many run at a time; 1 where `limit` is not said. */
  concurrency_key?: Partial<ConcurrencyKey> & { key: string };
  webhook?: { url: string; events?: string[]; secret?: string };
}

/** A task to be submitted. */
export interface NewTask<T extends string = string> extends TaskOptions {
  type: T;
  input: InputOf<T>;
}

export interface Page<T> {
  data: T[];
  /** `null` on the last page. */
  next_cursor: string | null;
}

/** Which tasks; everything that is given has to hold. */
export interface TaskFilter {
  status?: Status | Status[];
  type?: string | string[];
  tag?: string;
  model?: string;
  agent_id?: string;
  batch_id?: string;
  parent_id?: string;
  schedule_id?: string;
  /** The code of the error that the task has; with `status: 'failed'` and `poison`, what lost three workers. */
  error_code?: string;
  created_after?: string | Date;
  created_before?: string | Date;
  /** Words of title and tags. */
  q?: string;
}

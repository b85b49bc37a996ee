import type { Task } from './types.ts';

/** One field that is wrong: a JSON pointer into what was sent, and what is wrong there. */
export interface FieldError {
  detail: string;
  pointer: string;
}

interface Facts {
  /** The HTTP status; 0 where there was no answer. */
  status?: number;
  errors?: FieldError[];
  requestId?: string;
  retryAfterMs?: number;
  cause?: unknown;
}

/**
 * What every call throws, but one that its caller's `signal` gave up: that throws the reason of the signal.
 * `code` is the stable word: one of the API's problems (`GET /docs/problems/<code>`), or of the client itself:
 * `network_error` (no answer, after all repetitions), `request_timeout`, `wait_timeout` (the task goes on), `bad_answer`,
 * `not_logged_in`, `webhook_invalid`, and for a task that did not succeed what {@link TaskFailedError} says.
 */
export class SutazaiError extends Error {
  override readonly name: string = 'SutazaiError';
  readonly code: string;
  readonly status: number;
  /** What happened, for people. */
  readonly detail: string;
  readonly errors: FieldError[];
  /** Under which the log of the server has the request. */
  readonly requestId: string | undefined;
  /** How long the server asks to wait. */
  readonly retryAfterMs: number | undefined;

  constructor(code: string, detail: string, facts: Facts = {}) {
    super(detail, { cause: facts.cause });
    this.code = code;
    this.detail = detail;
    this.status = facts.status ?? 0;
    this.errors = facts.errors ?? [];
    this.requestId = facts.requestId;
    this.retryAfterMs = facts.retryAfterMs;
  }
}

/** A task that ended without success: `code` is that of its error, or `cancelled` or `expired`; `task` is the whole of it. */
export class TaskFailedError extends SutazaiError {
  override readonly name = 'TaskFailedError';
  readonly task: Task;

  constructor(task: Task) {
    const why = task.error?.message ?? task.cancel_reason;
    super(
      task.error?.code ?? task.status,
      `The ${task.type} task ${task.id} is ${task.status}${why ? `: ${why}` : ''}`,
    );
    this.task = task;
  }
}

import type { ProblemCode } from './problem-codes.ts';
import type { TaskErrorCode } from './task-error-codes.ts';

export { PROBLEMS, type ProblemCode } from './problem-codes.ts';

/** A JSON pointer into the request body (RFC 6901, with the leading `#`) and what is wrong there. */
export interface FieldError {
  detail: string;
  pointer: string;
}

/** An error whose text may be shown to whoever asked. Everything else that is thrown becomes `internal_error`. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly code: ProblemCode;
  readonly errors: FieldError[] | undefined;
  readonly headers: Record<string, string>;
  /** The limits that were passed, by name. */
  readonly policies: string[] | undefined;
  /** The ids of the tasks that stand in the way. */
  readonly tasks: string[] | undefined;

  constructor(
    code: ProblemCode,
    detail: string,
    more: {
      errors?: FieldError[];
      headers?: Record<string, string>;
      policies?: string[];
      tasks?: string[];
      cause?: unknown;
    } = {},
  ) {
    super(detail, { cause: more.cause });
    this.code = code;
    this.policies = more.policies;
    this.tasks = more.tasks;
    this.errors = more.errors;
    this.headers = more.headers ?? {};
  }
}

/** An error for the person at the terminal: printed without a stack, then the process exits with 1. */
export class UsageError extends Error {
  override readonly name: string = 'UsageError';
}

/** Says that a signal broke off what a command does: printed like a {@link UsageError}, then the process exits with 130. */
export class Interrupted extends UsageError {
  override readonly name = 'Interrupted';
}

/**
 * What a task type or a client throws when it knows what happened.
 * `retryable` decides between another attempt and the end; `retryAfterMs` moves the next attempt at least that far away.
 * `later` is for a dependency that is away or full: the task is as good as before, so the attempt does not count.
 * `outage` says that the failure is one of the dependency as a whole, which its circuit breaker counts: `away` when nobody
 * took the call, it broke off or was too much; `failing` when it was answered with an internal error.
 */
export class TaskError extends Error {
  override readonly name = 'TaskError';
  readonly code: TaskErrorCode;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly later: boolean;
  readonly outage: 'away' | 'failing' | undefined;

  constructor(
    code: TaskErrorCode,
    message: string,
    more: {
      retryable?: boolean;
      retryAfterMs?: number;
      later?: boolean;
      outage?: 'away' | 'failing';
      cause?: unknown;
    } = {},
  ) {
    super(message, { cause: more.cause });
    this.code = code;
    this.retryable = (more.retryable || more.later) ?? false;
    this.retryAfterMs = more.retryAfterMs;
    this.later = more.later ?? false;
    this.outage = more.outage;
  }
}

/** The text of whatever was thrown, for logs. */
export function errorMessage(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return errorMessage(error.errors[0]);
  // What fetch throws says nothing; its cause does.
  if (error instanceof TypeError && error.message === 'fetch failed' && error.cause) return errorMessage(error.cause);
  return error instanceof Error ? error.message || error.name : String(error);
}

/** A JSON pointer into the request body (RFC 6901, with the leading `#`) and what is wrong there. */
export interface FieldError {
  detail: string;
  pointer: string;
}

/**
 * The stable machine words of every problem that the API answers. The HTTP status and the title are derived here and
 * nowhere else, so a code means the same on every route.
 */
export const PROBLEMS = {
  bad_request: { status: 400, title: 'Bad request' },
  unauthorized: { status: 401, title: 'Authentication required' },
  invalid_credentials: { status: 401, title: 'Wrong name or password' },
  invalid_token: { status: 401, title: 'Invalid token' },
  forbidden: { status: 403, title: 'Not allowed' },
  registration_closed: { status: 403, title: 'Registration is closed' },
  not_found: { status: 404, title: 'Not found' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  already_exists: { status: 409, title: 'Already exists' },
  already_refreshed: { status: 409, title: 'Already refreshed' },
  task_ended: { status: 409, title: 'The task has already ended' },
  task_running: { status: 409, title: 'The task is running' },
  body_too_large: { status: 413, title: 'Body too large' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type' },
  validation_failed: { status: 422, title: 'Validation failed' },
  unknown_task_type: { status: 422, title: 'Unknown task type' },
  internal_error: { status: 500, title: 'Internal error' },
  'temporary-reduced-capacity': { status: 503, title: 'Temporarily unable to accept' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** An error whose text may be shown to whoever asked. Everything else that is thrown becomes `internal_error`. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly code: ProblemCode;
  readonly errors: FieldError[] | undefined;
  readonly headers: Record<string, string>;

  constructor(
    code: ProblemCode,
    detail: string,
    more: { errors?: FieldError[]; headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(detail, { cause: more.cause });
    this.code = code;
    this.errors = more.errors;
    this.headers = more.headers ?? {};
  }
}

/** An error for the person at the terminal: printed without a stack, then the process exits with 1. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The closed list of machine words that end a task with an error. */
export type TaskErrorCode =
  | 'invalid_input'
  | 'invalid_output'
  | 'output_too_large'
  | 'model_unavailable'
  | 'model_error'
  | 'collection_not_found'
  | 'dimension_mismatch'
  | 'upstream_unavailable'
  | 'upstream_rejected'
  | 'upstream_protocol'
  | 'timeout'
  | 'unknown_task_type'
  | 'poison'
  | 'internal_error';

/**
 * What a task type or a client throws when it knows what happened.
 * `retryable` decides between another attempt and the end; `retryAfterMs` moves the next attempt at least that far away.
 */
export class TaskError extends Error {
  override readonly name = 'TaskError';
  readonly code: TaskErrorCode;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(
    code: TaskErrorCode,
    message: string,
    more: { retryable?: boolean; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.code = code;
    this.retryable = more.retryable ?? false;
    this.retryAfterMs = more.retryAfterMs;
  }
}

/** The text of whatever was thrown, for logs. */
export function errorMessage(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return errorMessage(error.errors[0]);
  // What fetch throws says nothing; its cause does.
  if (error instanceof TypeError && error.message === 'fetch failed' && error.cause) return errorMessage(error.cause);
  return error instanceof Error ? error.message || error.name : String(error);
}

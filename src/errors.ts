/** A JSON pointer into the request body (RFC 6901, with the leading `#`) and what is wrong there. */
export interface FieldError {
  detail: string;
  pointer: string;
}

/**
 * The stable machine words of every problem that the API answers. The HTTP status, the title and what to do are said here
 * and nowhere else, so a code means the same on every route.
 */
export const PROBLEMS = {
  bad_request: {
    status: 400,
    title: 'Bad request',
    help: 'The request cannot be read: look at the detail, mend the request, and send it again.',
  },
  unauthorized: {
    status: 401,
    title: 'Authentication required',
    help: 'Log in with POST /api/v1/auth/login and send the access token as `Authorization: Bearer <token>`.',
  },
  invalid_credentials: {
    status: 401,
    title: 'Wrong name or password',
    help: 'Check the user name or e-mail address and the password. Which of them is wrong is not said.',
  },
  invalid_token: {
    status: 401,
    title: 'Invalid token',
    help: 'The token is expired, revoked or not of this API. Refresh it with POST /api/v1/auth/refresh, or log in again.',
  },
  forbidden: {
    status: 403,
    title: 'Not allowed',
    help: 'Your account lacks the permission that the detail names. An administrator can give you another role.',
  },
  registration_closed: {
    status: 403,
    title: 'Registration is closed',
    help: 'Ask an administrator for an account, or have REGISTRATION=open set.',
  },
  invitation_needed: {
    status: 403,
    title: 'An invitation is needed',
    help: 'Ask an administrator for an invitation and send it as `invitation` when you register. Each is good for one account, and until its end.',
  },
  not_found: {
    status: 404,
    title: 'Not found',
    help: 'There is no such thing, or it belongs to somebody else: the two look the same. Check the path and the id.',
  },
  method_not_allowed: {
    status: 405,
    title: 'Method not allowed',
    help: 'The path exists, but not with this method; the header Allow lists those that do.',
  },
  already_exists: { status: 409, title: 'Already exists', help: 'Choose another name, or use what is there.' },
  limit_reached: {
    status: 409,
    title: 'Limit reached',
    help: 'The account has as many of these as it may have. Remove one that is not needed any more, then try again.',
  },
  already_refreshed: {
    status: 409,
    title: 'Already refreshed',
    help: 'Another request has just exchanged the same refresh token. Use the tokens that it got.',
  },
  last_administrator: {
    status: 409,
    title: 'The last administrator',
    help: 'Somebody has to be able to administer. Make another account an active administrator first.',
  },
  task_ended: {
    status: 409,
    title: 'The task has already ended',
    help: 'An ended task cannot be cancelled. Read it with GET, or run it again with POST …/retry.',
  },
  task_running: {
    status: 409,
    title: 'The task has not ended',
    help: 'Only an ended task can be retried. Wait for its end, or cancel it first.',
  },
  idempotency_key_in_use: {
    status: 409,
    title: 'Idempotency key in use',
    help: 'The first request with this Idempotency-Key is still at work. Wait as long as Retry-After says and send the same request again.',
  },
  body_too_large: {
    status: 413,
    title: 'Body too large',
    help: 'Split the request into smaller ones, or ask an operator to raise MAX_BODY_BYTES.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'Unsupported media type',
    help: 'Send JSON with the header `Content-Type: application/json`.',
  },
  validation_failed: {
    status: 422,
    title: 'Validation failed',
    help: 'Each entry of `errors` points at a field and says what is wrong with it. GET /api/v1/task-types shows what each task type takes.',
  },
  'quota-exceeded': {
    status: 429,
    title: 'Quota exceeded',
    help: 'You asked for more than you may have; `violated-policies` names the limit. Wait as long as Retry-After says and send the same request again. An administrator can raise the limit of a user.',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'Idempotency key used before',
    help: 'An earlier request of yours asked for something else under the same Idempotency-Key. Make a new key for each new request, and keep it for repetitions of the same one.',
  },
  internal_error: {
    status: 500,
    title: 'Internal error',
    help: 'This is a fault of ours. Tell the operator the request id; the log has the rest under it.',
  },
  'temporary-reduced-capacity': {
    status: 503,
    title: 'Temporarily unable to accept',
    help: 'Something that is needed does not answer or is full. Wait as long as Retry-After says and send the same request again.',
  },
} as const satisfies Record<string, { status: number; title: string; help: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** An error whose text may be shown to whoever asked. Everything else that is thrown becomes `internal_error`. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly code: ProblemCode;
  readonly errors: FieldError[] | undefined;
  readonly headers: Record<string, string>;
  /** The limits that were passed, by name. */
  readonly policies: string[] | undefined;

  constructor(
    code: ProblemCode,
    detail: string,
    more: { errors?: FieldError[]; headers?: Record<string, string>; policies?: string[]; cause?: unknown } = {},
  ) {
    super(detail, { cause: more.cause });
    this.code = code;
    this.policies = more.policies;
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
  | 'context_exceeded'
  | 'collection_not_found'
  | 'dimension_mismatch'
  | 'egress_refused'
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

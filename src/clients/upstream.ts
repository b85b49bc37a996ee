import { errorMessage, TaskError } from '../errors.ts';
import { retryAfterMs } from './retry-after.ts';

/** Nobody took the call: it has done nothing, and the caller is not to blame. */
const NOT_THERE = ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT'];

/** The call was taken and then broke; perhaps it is what broke the other side. */
const BROKEN_OFF = [
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'UND_ERR_SOCKET',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_CLOSED',
];

/** The system's or undici's code of an error, wherever `fetch` wrapped it. */
export function errorCode(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException;
    if (typeof code === 'string') return code;
    if (at instanceof AggregateError && at.errors.length > 0) return errorCode(at.errors[0]);
  }
  return undefined;
}

/** Whether the error says that nobody took the call, so that it has done nothing. */
export function wasNotTaken(error: unknown): boolean {
  return NOT_THERE.includes(errorCode(error) ?? '');
}

/** Whether the error says that nobody answered, rather than that somebody refused. */
export function isUnreachable(error: unknown): boolean {
  return [...NOT_THERE, ...BROKEN_OFF].includes(errorCode(error) ?? '');
}

/** A dependency may ask to be left alone for so long; more is not believed. */
const MAX_RETRY_AFTER_MS = 60_000;

/** What a dependency said instead of what it was asked for. */
export class UpstreamRefusal extends Error {
  override readonly name = 'UpstreamRefusal';
  /** The HTTP status; `undefined` for an error in the middle of an answer that had begun well. */
  readonly status: number | undefined;
  /** Bounded; `undefined` where it did not ask to wait. */
  readonly retryAfterMs: number | undefined;

  /** @param retryAfter the header `Retry-After` as it came */
  constructor(message: string, status?: number, retryAfter?: string | null) {
    super(message);
    this.status = status;
    this.retryAfterMs = retryAfterMs(retryAfter, MAX_RETRY_AFTER_MS) || undefined;
  }
}

/** What an upstream says is kept up to this many characters. */
const MAX_SAID = 1_000;

/**
 * What a failed call of a model host, the vector store or a user's URL means for the task. Addresses of the inside stay out
 * of the text.
 * @param name how users know the dependency, such as `Ollama`
 * @param error what was thrown; best an {@link UpstreamRefusal} where something was answered
 * @param status the HTTP status, where something else was thrown for an answer
 */
export function upstreamError(
  name: string,
  error: unknown,
  status = error instanceof UpstreamRefusal ? error.status : undefined,
): TaskError {
  if (error instanceof TaskError) return error;
  if (error instanceof Error && error.name === 'TimeoutError')
    return new TaskError('upstream_unavailable', `${name} did not answer in time.`, {
      retryable: true,
      outage: 'away',
      cause: error,
    });
  if (isUnreachable(error)) {
    const stalled = errorCode(error) === 'UND_ERR_BODY_TIMEOUT' || errorCode(error) === 'UND_ERR_HEADERS_TIMEOUT';
    return new TaskError('upstream_unavailable', `${name} ${stalled ? 'stopped answering' : 'cannot be reached'}.`, {
      retryable: true,
      later: NOT_THERE.includes(errorCode(error) ?? ''),
      outage: 'away',
      cause: error,
    });
  }
  const said = errorMessage(error).slice(0, MAX_SAID);
  if (status === undefined || status < 400)
    return new TaskError('upstream_protocol', `${name} broke off its answer: ${said}`, {
      retryable: true,
      cause: error,
    });
  const retryAfterMs = error instanceof UpstreamRefusal ? error.retryAfterMs : undefined;
  const unavailable = (what: string, more: ConstructorParameters<typeof TaskError>[2]) =>
    new TaskError('upstream_unavailable', `${name} ${what}: ${said}`, { retryable: true, cause: error, ...more });
  if (status === 503) return unavailable('is busy', { later: true, outage: 'away', retryAfterMs });
  if (status === 429)
    return new TaskError('upstream_rate_limited', `${name} asks for fewer calls: ${said}`, {
      later: true,
      retryAfterMs,
      cause: error,
    });
  // A gateway in front of it found nobody there, or lost it.
  if (status === 502 || status === 504) return unavailable('failed', { outage: 'away' });
  if (status >= 500) return unavailable('failed', { outage: 'failing' });
  // It gave the call up itself, as it does when it stops.
  if (status === 408 || status === 499) return unavailable('gave up', {});
  return new TaskError('upstream_rejected', `${name} refused: ${said}`, { cause: error });
}

import { errorMessage, TaskError } from '../errors.ts';

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

/** Whether the error says that nobody answered, rather than that somebody refused. */
export function isUnreachable(error: unknown): boolean {
  return [...NOT_THERE, ...BROKEN_OFF].includes(errorCode(error) ?? '');
}

/**
 * What a failed call of a model host or the vector store means for the task. Addresses of the inside stay out of the text.
 * @param name how users know the dependency, such as `Ollama`
 */
export function upstreamError(name: string, error: unknown, status?: number): TaskError {
  if (error instanceof TaskError) return error;
  if (isUnreachable(error)) {
    const stalled = errorCode(error) === 'UND_ERR_BODY_TIMEOUT' || errorCode(error) === 'UND_ERR_HEADERS_TIMEOUT';
    return new TaskError('upstream_unavailable', `${name} ${stalled ? 'stopped answering' : 'cannot be reached'}.`, {
      retryable: true,
      later: NOT_THERE.includes(errorCode(error) ?? ''),
      cause: error,
    });
  }
  const said = errorMessage(error);
  if (status === 429 || status === 503) {
    return new TaskError('upstream_unavailable', `${name} is busy: ${said}`, {
      later: true,
      retryAfterMs: 1_000,
      cause: error,
    });
  }
  if (status !== undefined && status >= 500) {
    return new TaskError('upstream_unavailable', `${name} failed: ${said}`, { retryable: true, cause: error });
  }
  if (status !== undefined && status >= 400)
    return new TaskError('upstream_rejected', `${name} refused: ${said}`, { cause: error });
  return new TaskError('upstream_protocol', `${name} broke off its answer: ${said}`, { retryable: true, cause: error });
}

import { errors } from 'undici';
import { errorMessage, TaskError } from '../errors.ts';
import { EgressRefused, type OutboundAnswer } from './outbound.ts';
import { retryAfterMs } from './retry-after.ts';
import { errorCode, isUnreachable } from './upstream.ts';

/** A host that is busy may send a task away this often before that counts as a failure, so that no task waits for ever. */
const FREE_WAITS = 20;
const MAX_RETRY_AFTER_MS = 3_600_000;
const EXCERPT_CHARACTERS = 500;

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/**
 * What the answer of a user's URL means for the task that called it; `undefined` for 2xx.
 * @param attempt the number of the attempt, from 1; earlier ones sent the same idempotency key
 */
export function answerError({ status, headers, body }: OutboundAnswer, attempt: number): TaskError | undefined {
  if (isSuccess(status)) return undefined;
  const excerpt = body.trim().slice(0, EXCERPT_CHARACTERS);
  const said = `The host answered ${status}${excerpt === '' ? '.' : `: ${excerpt}`}`;
  // Who does not say when is not believed to mean at once: the waits then grow.
  const again = {
    retryable: true,
    retryAfterMs: retryAfterMs(headers['retry-after'], MAX_RETRY_AFTER_MS) || undefined,
  };

  if (status === 429 || status === 503)
    return new TaskError(status === 429 ? 'upstream_rate_limited' : 'upstream_unavailable', said, {
      ...again,
      later: attempt <= FREE_WAITS,
    });
  // By the draft of the header, 409 says that the first request with this key is still being worked on.
  const underWay = status === 409 && attempt > 1;
  if (status >= 500 || status === 408 || status === 425 || underWay)
    return new TaskError('upstream_unavailable', said, again);
  if (status < 400) {
    const target = [headers.location].flat()[0]?.slice(0, EXCERPT_CHARACTERS) ?? 'somewhere else';
    return new TaskError(
      'upstream_rejected',
      `The host answered ${status} and points to ${target}. Redirects are not followed; call that address itself.`,
    );
  }
  return new TaskError('upstream_rejected', said);
}

/**
 * What it means for a task that the call of its URL brought no answer. Even a host that is not there counts as a failure:
 * the address may be wrong, and then nobody will ever answer.
 */
export function callError(error: unknown): TaskError {
  if (error instanceof EgressRefused) return new TaskError('egress_refused', error.message, { cause: error });
  if (isUnreachable(error))
    return new TaskError('upstream_unavailable', `The host gave no answer (${errorCode(error)}).`, {
      retryable: true,
      cause: error,
    });
  return new TaskError('upstream_protocol', `The answer of the host cannot be read: ${errorMessage(error)}`, {
    // What breaks off can look like what was no HTTP at all; only too many headers are no accident.
    retryable: !(error instanceof errors.HeadersOverflowError),
    cause: error,
  });
}

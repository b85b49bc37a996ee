import { ProblemError } from '../../errors.ts';
import { noSuchTask } from '../routes/task-access.ts';
import type { OpenStream } from '../streams/open-streams.ts';
import { CLOSING, GONE, serverStops, UNAUTHORIZED } from './calls.ts';

/** What the reader of a stream is told that has to end although its task has not. */
export function endedBy(stream: OpenStream, client: AbortSignal): ProblemError {
  const reason = stream.endReason();
  if (reason === 'unauthorized') return new ProblemError('invalid_token', 'The token or API key is not good any more.');
  return client.aborted && reason === undefined ? noSuchTask() : serverStops();
}

/** Why the task of a stream is cancelled that ends before it, for its timeline. */
export function reasonOf(stream: OpenStream): string {
  if (stream.endReason() === 'unauthorized') return UNAUTHORIZED;
  return stream.endReason() === 'closing' ? CLOSING : GONE;
}

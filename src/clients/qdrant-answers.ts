import { errorMessage, TaskError } from '../errors.ts';
import { errorCode, UpstreamRefusal, upstreamError } from './upstream.ts';

/** The client takes whatever comes with status 200 for an answer. */
export function resultOf<T>(data: { result?: T } | null): T {
  if (data?.result) return data.result;
  throw new TaskError('upstream_protocol', 'Qdrant answered something else than Qdrant does.', { retryable: true });
}

/** The client reads large whole numbers as BigInt, which is no JSON; they were stored as the numbers they become again. */
export function withoutBigInts(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(withoutBigInts);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutBigInts(inner)]));
}

/** The HTTP status of what the client threw, where it came from an answer. */
export function statusOf(error: unknown): number | undefined {
  // The client has errors of its own for a 429 that says when to come back, of which it keeps the first digit.
  if (error instanceof Error && /^(?:QdrantClientResourceExhausted|Custom)Error$/.test(error.name)) return 429;
  const { status } = error as { status?: unknown };
  if (typeof status === 'number') return status;
  // The client puts the status of unexpected answers into its text only.
  const match = /Unexpected Response: (\d{3})/.exec(errorMessage(error));
  return match ? Number(match[1]) : undefined;
}

/** Whether a call failed because the store does not have the collection. */
export function wasLost(error: unknown): boolean {
  return error instanceof TaskError && error.cause !== undefined && statusOf(error.cause) === 404;
}

/** What a failed call means for the task. */
export function classify(error: unknown): TaskError {
  const status = statusOf(error);
  const { data, headers } = error as { data?: { status?: { error?: string } }; headers?: Headers };
  const said = data?.status?.error ?? errorMessage(error);
  if (status === 400 && /dimension/i.test(said)) return new TaskError('dimension_mismatch', said, { cause: error });
  if (status === 404)
    return new TaskError(
      'upstream_unavailable',
      'Qdrant lost the collection; it is made again when points are stored.',
      {
        retryable: true,
        cause: error,
      },
    );
  if (status === undefined && errorCode(error) === undefined && (error as Error).name === 'TypeError')
    return new TaskError('upstream_unavailable', 'Qdrant cannot be reached.', {
      retryable: true,
      outage: 'away',
      cause: error,
    });
  if (status === undefined) return upstreamError('Qdrant', error);
  return upstreamError('Qdrant', new UpstreamRefusal(said, status, headers?.get('retry-after')));
}

import type { ModelCall, ModelClient } from '../clients/ollama.ts';
import { UpstreamRefusal } from '../clients/upstream.ts';
import { type FieldError, ProblemError, TaskError } from '../errors.ts';
import { FilterRefused } from '../vectors/filter.ts';
import { invalid } from './validate.ts';

/** What a model answers about itself before a collection is made for it. */
export interface Kind {
  embedding_model: string | null;
  dimensions: number | null;
}

/**
 * Finds out how long the vectors of a model are, by asking for one.
 * @param requested the one that is to be used; the usual one where it is not given
 * @throws ProblemError `validation_failed` for a model that is not there or makes no vectors
 */
export async function kindOf(
  models: ModelClient,
  requested: string | undefined,
  call: Pick<ModelCall, 'signal' | 'by' | 'mayUse'>,
): Promise<Kind> {
  const refuse = (detail: string) => invalid([{ pointer: '#/embedding_model', detail }]);
  try {
    // A pull takes longer than a request may, and no other model may stand in for the one that was named.
    const fallback = requested === undefined;
    const { model } = await models.models.select(requested, 'embedding', { ...call, pull: false, fallback });
    const { answer } = await models.embed({ input: ['How long is a vector?'], model, fallback: false }, call);
    return { embedding_model: answer.model, dimensions: answer.dimensions };
  } catch (error) {
    if (error instanceof TaskError && error.code === 'model_error') throw refuse(error.message);
    if (error instanceof TaskError && error.code === 'model_unavailable')
      throw refuse(`${error.message} Vectors of your own making want null here.`);
    throw error;
  }
}

/** Where a field stands that a search can go wrong with. */
const POINTERS: Partial<Record<TaskError['code'], string>> = {
  dimension_mismatch: '#/vector',
  invalid_input: '#/query',
  model_error: '#/query',
};

/** Does what wants model and store, within a time. @throws ProblemError for what they answer in place of it */
export async function asking<T>(
  { client, ms }: { client: AbortSignal; ms: number },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = AbortSignal.timeout(ms);
  // Some of it is done for others too, and does not stop with this request.
  const gaveUp = new Promise<never>((_, reject) => late.addEventListener('abort', () => reject(late.reason)));
  try {
    return await Promise.race([work(AbortSignal.any([client, late])), gaveUp]);
  } catch (error) {
    if (error instanceof TaskError) throw problemFrom(error);
    if (late.aborted && error === late.reason)
      throw away('The model or the vector store did not answer in time.', error);
    throw error;
  }
}

function problemFrom(error: TaskError): Error {
  const { code, message, cause } = error;
  if (code === 'collection_not_found') return noSuchCollection();
  if (code === 'forbidden' || code === 'model_changed') return new ProblemError(code, message);
  if (code === 'context_exceeded')
    return invalid([{ pointer: '#/query', detail: 'is longer than the context of the embedding model: shorten it' }]);
  const ofFilter = error instanceof FilterRefused || wasRefused(cause);
  const pointer = ofFilter ? '#/filter' : POINTERS[code];
  if (pointer) return invalid([{ pointer, detail: message } satisfies FieldError]);
  if (error.retryable || code.startsWith('upstream_')) return away(message, error);
  return error;
}

/** Whether the store took the request for a wrong one, such as a filter that it does not know. */
function wasRefused(cause: unknown): boolean {
  return cause instanceof UpstreamRefusal && (cause.status === 400 || cause.status === 422);
}

function away(detail: string, cause: unknown): ProblemError {
  const wait = cause instanceof TaskError ? cause.retryAfterMs : undefined;
  return new ProblemError('temporary-reduced-capacity', detail, {
    headers: { 'Retry-After': String(Math.ceil((wait ?? 5_000) / 1000)) },
    cause,
  });
}

export const noSuchCollection = () => new ProblemError('not_found', 'There is no such collection.');

import { QdrantClient } from '@qdrant/js-client-rest';
import { errorMessage, TaskError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { type Breaker, createBreaker } from './breaker.ts';
import { errorCode, UpstreamRefusal, upstreamError } from './upstream.ts';

/** A point as the store keeps it. */
export interface StoredPoint {
  id: string;
  vector: number[];
  payload: Record<string, unknown>;
}

export interface FoundPoint {
  score: number;
  payload: Record<string, unknown>;
}

/** The vector store, with our classes of error. Names and filters are the caller's: who may see what is decided there. */
export interface VectorClient {
  breaker: Breaker;
  /** Makes the collection and its tenant index unless they are there. */
  ensureCollection(name: string, dimensions: number): Promise<void>;
  /** Stores points and answers when they are applied. */
  upsert(collection: string, points: StoredPoint[], signal: AbortSignal): Promise<void>;
  query(
    collection: string,
    query: { vector: number[]; filter: object; limit: number; scoreThreshold?: number },
    signal: AbortSignal,
  ): Promise<FoundPoint[]>;
  /** Deletes every point of a tenant; a collection that is not there holds none. */
  forgetTenant(collection: string, tenant: string): Promise<void>;
  /** The version that the store reports. @throws when it cannot be reached */
  ping(signal: AbortSignal): Promise<string>;
}

/** The payload fields by which the points of users and of their collections are kept apart. */
export const TENANT_FIELD = 'tenant';
export const COLLECTION_FIELD = 'collection';

const TIMEOUT_MS = 60_000;
const PROBE_MS = 5_000;

interface Options {
  url: string;
  apiKey?: string;
  /** How long a call may take; {@link TIMEOUT_MS} by default. */
  timeoutMs?: number;
  log: Logger;
}

/** The store's own name for collections of one model: they share one there, where the tenant index keeps users apart. */
export function storeName(model: string | null, dimensions: number): string {
  return `sutazai_${(model ?? 'vectors').replace(/[^a-zA-Z0-9]+/g, '-')}_${dimensions}`;
}

/** Makes the client. Nothing connects before first use. */
export function createVectorClient({ url, apiKey, timeoutMs = TIMEOUT_MS, log }: Options): VectorClient {
  // Without a port in the URL the client would take 6333 also for https behind a gateway.
  const { protocol, port } = new URL(url);
  // Its generated calls take a signal, which its methods do not; its own time-out would put another in the place of that.
  const api = new QdrantClient({
    url,
    port: Number(port) || (protocol === 'https:' ? 443 : 80),
    apiKey,
    timeout: Number.POSITIVE_INFINITY,
    checkCompatibility: false,
  }).api();
  const ensured = new Map<string, Promise<void>>();
  const ping = async (signal: AbortSignal) => (await api.root({}, { signal })).data.version;
  const breaker = createBreaker({ name: 'Qdrant', probe: () => ping(AbortSignal.timeout(PROBE_MS)), log });

  /** What is thrown is a TaskError, or the reason of the signal when that aborts. */
  function guarded<T>(outer: AbortSignal | undefined, work: (init: { signal: AbortSignal }) => Promise<T>): Promise<T> {
    return breaker.run(async () => {
      const late = AbortSignal.timeout(timeoutMs);
      try {
        return await work({ signal: outer ? AbortSignal.any([outer, late]) : late });
      } catch (error) {
        outer?.throwIfAborted();
        throw classify(error);
      }
    });
  }

  async function create(name: string, dimensions: number, init: { signal: AbortSignal }): Promise<void> {
    const collection = { collection_name: name };
    const { data } = await api.collectionExists(collection, init);
    if (!resultOf(data).exists) {
      try {
        await api.createCollection({ ...collection, vectors: { size: dimensions, distance: 'Cosine' } }, init);
      } catch (error) {
        // Another worker may have been first.
        if (statusOf(error) !== 409) throw error;
      }
    }
    const tenant = { type: 'keyword', is_tenant: true } as const;
    await api.createFieldIndex({ ...collection, field_name: TENANT_FIELD, field_schema: tenant, wait: true }, init);
    await api.createFieldIndex(
      { ...collection, field_name: COLLECTION_FIELD, field_schema: 'keyword', wait: true },
      init,
    );
  }

  return {
    breaker,
    ensureCollection(name, dimensions) {
      let ready = ensured.get(name);
      if (!ready) {
        // Other attempts wait for the same, so it does not stop with the signal of one.
        ready = guarded(undefined, (init) => create(name, dimensions, init));
        ensured.set(name, ready);
        ready.catch(() => ensured.delete(name));
      }
      return ready;
    },
    upsert: (collection, points, outer) =>
      guarded(outer, async (init) => {
        try {
          const { data } = await api.upsertPoints({ collection_name: collection, wait: true, points }, init);
          if (resultOf(data).status !== 'completed')
            throw new TaskError('upstream_unavailable', 'Qdrant has not stored the points yet.', { retryable: true });
        } catch (error) {
          // The store may have been replaced by an empty one since it was looked at.
          if (statusOf(error) === 404) ensured.delete(collection);
          throw error;
        }
      }),
    query: (collection, { vector, filter, limit, scoreThreshold }, outer) =>
      guarded(outer, async (init) => {
        const { data } = await api.queryPoints(
          {
            collection_name: collection,
            query: vector,
            filter,
            limit,
            with_payload: true,
            ...(scoreThreshold === undefined ? {} : { score_threshold: scoreThreshold }),
          },
          init,
        );
        return resultOf(data).points.map(({ score, payload }) => ({
          score,
          payload: (withoutBigInts(payload) ?? {}) as Record<string, unknown>,
        }));
      }),
    forgetTenant: (collection, tenant) =>
      guarded(undefined, async (init) => {
        try {
          const filter = { must: [{ key: TENANT_FIELD, match: { value: tenant } }] };
          await api.deletePoints({ collection_name: collection, wait: true, filter }, init);
        } catch (error) {
          if (statusOf(error) !== 404) throw error;
        }
      }),
    ping,
  };
}

/** The client takes whatever comes with status 200 for an answer. */
function resultOf<T>(data: { result?: T } | null): T {
  if (data?.result) return data.result;
  throw new TaskError('upstream_protocol', 'Qdrant answered something else than Qdrant does.', { retryable: true });
}

/** The client reads large whole numbers as BigInt, which is no JSON; they were stored as the numbers they become again. */
function withoutBigInts(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(withoutBigInts);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutBigInts(inner)]));
}

function statusOf(error: unknown): number | undefined {
  // The client has errors of its own for a 429 that says when to come back, of which it keeps the first digit.
  if (error instanceof Error && /^(?:QdrantClientResourceExhausted|Custom)Error$/.test(error.name)) return 429;
  const { status } = error as { status?: unknown };
  if (typeof status === 'number') return status;
  // The client puts the status of unexpected answers into its text only.
  const match = /Unexpected Response: (\d{3})/.exec(errorMessage(error));
  return match ? Number(match[1]) : undefined;
}

function classify(error: unknown): TaskError {
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

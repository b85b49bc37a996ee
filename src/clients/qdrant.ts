import { QdrantClient } from '@qdrant/js-client-rest';
import { errorMessage, TaskError } from '../errors.ts';
import { errorCode, upstreamError } from './upstream.ts';

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
  /** Makes the collection and its tenant index unless they are there. */
  ensureCollection(name: string, dimensions: number): Promise<void>;
  /** Stores points and answers when they are applied. */
  upsert(collection: string, points: StoredPoint[]): Promise<void>;
  query(
    collection: string,
    query: { vector: number[]; filter: object; limit: number; scoreThreshold?: number },
  ): Promise<FoundPoint[]>;
  /** Deletes every point of a tenant; a collection that is not there holds none. */
  forgetTenant(collection: string, tenant: string): Promise<void>;
  /** The version that the store reports. @throws when it cannot be reached */
  ping(): Promise<string>;
}

/** The payload fields by which the points of users and of their collections are kept apart. */
export const TENANT_FIELD = 'tenant';
export const COLLECTION_FIELD = 'collection';

const TIMEOUT_MS = 60_000;

/** The store's own name for collections of one model: they share one there, where the tenant index keeps users apart. */
export function storeName(model: string | null, dimensions: number): string {
  return `sutazai_${(model ?? 'vectors').replace(/[^a-zA-Z0-9]+/g, '-')}_${dimensions}`;
}

/** Makes the client. Nothing connects before first use. */
export function createVectorClient(options: { url: string; apiKey?: string }): VectorClient {
  // Without a port in the URL the client would take 6333 also for https behind a gateway.
  const { protocol, port } = new URL(options.url);
  const client = new QdrantClient({
    url: options.url,
    port: Number(port) || (protocol === 'https:' ? 443 : 80),
    apiKey: options.apiKey,
    timeout: TIMEOUT_MS,
    checkCompatibility: false,
  });
  const ensured = new Map<string, Promise<void>>();

  async function guarded<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw classify(error);
    }
  }

  async function create(name: string, dimensions: number): Promise<void> {
    const { exists } = await client.collectionExists(name);
    if (!exists) {
      try {
        await client.createCollection(name, { vectors: { size: dimensions, distance: 'Cosine' } });
      } catch (error) {
        // Another worker may have been first.
        if (statusOf(error) !== 409) throw error;
      }
    }
    await client.createPayloadIndex(name, {
      field_name: TENANT_FIELD,
      field_schema: { type: 'keyword', is_tenant: true },
      wait: true,
    });
    await client.createPayloadIndex(name, { field_name: COLLECTION_FIELD, field_schema: 'keyword', wait: true });
  }

  return {
    ensureCollection(name, dimensions) {
      let ready = ensured.get(name);
      if (!ready) {
        ready = guarded(() => create(name, dimensions));
        ensured.set(name, ready);
        ready.catch(() => ensured.delete(name));
      }
      return ready;
    },
    upsert: (collection, points) =>
      guarded(async () => {
        try {
          await client.upsert(collection, { wait: true, points });
        } catch (error) {
          // The store may have been replaced by an empty one since it was looked at.
          if (statusOf(error) === 404) ensured.delete(collection);
          throw error;
        }
      }),
    query: (collection, { vector, filter, limit, scoreThreshold }) =>
      guarded(async () => {
        const { points } = await client.query(collection, {
          query: vector,
          filter,
          limit,
          with_payload: true,
          ...(scoreThreshold === undefined ? {} : { score_threshold: scoreThreshold }),
        });
        return points.map(({ score, payload }) => ({ score, payload: payload ?? {} }));
      }),
    forgetTenant: (collection, tenant) =>
      guarded(async () => {
        try {
          const filter = { must: [{ key: TENANT_FIELD, match: { value: tenant } }] };
          await client.delete(collection, { wait: true, filter });
        } catch (error) {
          if (statusOf(error) !== 404) throw error;
        }
      }),
    ping: async () => (await client.versionInfo()).version,
  };
}

function statusOf(error: unknown): number | undefined {
  const { status } = error as { status?: unknown };
  if (typeof status === 'number') return status;
  // The client puts the status of unexpected answers into its text only.
  const match = /Unexpected Response: (\d{3})/.exec(errorMessage(error));
  return match ? Number(match[1]) : undefined;
}

function classify(error: unknown): TaskError {
  const status = statusOf(error);
  const said = (error as { data?: { status?: { error?: string } } }).data?.status?.error ?? errorMessage(error);
  if (status === 400 && /dimension/i.test(said)) return new TaskError('dimension_mismatch', said, { cause: error });
  if (status === 404)
    return new TaskError('upstream_unavailable', 'Qdrant lost the collection; it is made again.', {
      retryable: true,
      cause: error,
    });
  if (status === undefined && errorCode(error) === undefined && (error as Error).name === 'TypeError') {
    return new TaskError('upstream_unavailable', 'Qdrant cannot be reached.', { retryable: true, cause: error });
  }
  return upstreamError('Qdrant', status ? new Error(said, { cause: error }) : error, status);
}

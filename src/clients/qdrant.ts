import { readFileSync } from 'node:fs';
import { getCACertificates } from 'node:tls';
import { QdrantClient } from '@qdrant/js-client-rest';
import { Agent, Dispatcher1Wrapper } from 'undici';
import { errorMessage, TaskError, UsageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { inPart, traceHeaders } from '../telemetry/tracing.ts';
import { type Breaker, createBreaker } from './breaker.ts';
import { classify, resultOf, statusOf, withoutBigInts } from './qdrant-answers.ts';

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

/**
 * The vector store, with our classes of error. Names and filters are the caller's: who may see what is decided there. `by` is the
 * user whose call it is: what fails for one alone keeps no other one away.
 */
export interface VectorClient {
  breaker: Breaker;
  /** Makes the collection and the indexes of our fields unless they are there. */
  ensureCollection(name: string, dimensions: number, distance: Distance): Promise<void>;
  /** Stores points and answers when they are applied. */
  upsert(collection: string, points: StoredPoint[], signal: AbortSignal, by?: string): Promise<void>;
  /** The points that the filter chooses, those nearest to the vector first; without a vector in no order that means anything. */
  query(
    collection: string,
    query: { vector?: number[]; filter: object; limit: number; scoreThreshold?: number },
    signal: AbortSignal,
    by?: string,
  ): Promise<FoundPoint[]>;
  /** How many points the filter chooses, exactly; a collection that is not there holds none. */
  count(collection: string, filter: object, signal: AbortSignal, by?: string): Promise<number>;
  /** Deletes every point that the filter chooses; a collection that is not there holds none. */
  remove(collection: string, filter: object, signal: AbortSignal, by?: string): Promise<void>;
  /** Deletes the collection itself; one that is not there is gone already. */
  drop(collection: string, signal: AbortSignal): Promise<void>;
  /** The version that the store reports. @throws when it cannot be reached */
  ping(signal: AbortSignal): Promise<string>;
}

/** How two vectors are compared, in Qdrant's words. */
export type Distance = 'Cosine' | 'Dot' | 'Euclid';

/** The payload fields by which the points of users, of their collections and of the documents in them are kept apart. */
export const TENANT_FIELD = 'tenant';
export const COLLECTION_FIELD = 'collection';
export const DOCUMENT_FIELD = 'document';
/** What the points of a chunk after the first have, which are there to be found. */
export const PIECE_FIELD = 'piece';

const TIMEOUT_MS = 60_000;
const PROBE_MS = 5_000;

interface Options {
  url: string;
  apiKey?: string;
  /** A file with certificates (PEM) of those who may vouch for the server, besides the usual ones. */
  caFile?: string;
  /** How long a call may take; {@link TIMEOUT_MS} by default. */
  timeoutMs?: number;
  log: Logger;
}

type Init = { signal: AbortSignal; headers: Record<string, string> };

/** Makes the client. Nothing connects before first use. */
export function createVectorClient({ url, apiKey, caFile, timeoutMs = TIMEOUT_MS, log }: Options): VectorClient {
  // Without a port in the URL the client would take 6333 also for https behind a gateway.
  const { protocol, port, pathname, origin } = new URL(url);
  // Its generated calls take a signal, which its methods do not; its own time-out would put another in the place of that.
  const api = new QdrantClient({
    url: origin,
    // The path of a gateway; the client would leave it out without a word.
    prefix: pathname.replace(/\/+$/, ''),
    port: Number(port) || (protocol === 'https:' ? 443 : 80),
    apiKey,
    timeout: Number.POSITIVE_INFINITY,
    checkCompatibility: false,
  }).api();
  const trusting = caFile === undefined ? {} : { dispatcher: dispatcherTrusting(caFile) };
  const ensured = new Map<string, Promise<void>>();
  async function ping(signal: AbortSignal): Promise<string> {
    const { version } = (await api.root({}, { ...trusting, signal })).data;
    breaker.answered();
    return version;
  }
  const breaker = createBreaker({ name: 'Qdrant', probe: () => ping(AbortSignal.timeout(PROBE_MS)), log });

  /** What is thrown is a TaskError, or the reason of the signal when that aborts. */
  function guarded<T>(
    operation: string,
    collection: string,
    by: string | undefined,
    outer: AbortSignal | undefined,
    work: (init: Init) => Promise<T>,
  ): Promise<T> {
    const attributes = {
      'db.system.name': 'qdrant',
      'db.operation.name': operation,
      'db.collection.name': collection,
    };
    const call = async () => {
      const late = AbortSignal.timeout(timeoutMs);
      try {
        const signal = outer ? AbortSignal.any([outer, late]) : late;
        return await work({ ...trusting, signal, headers: traceHeaders() });
      } catch (error) {
        outer?.throwIfAborted();
        throw classify(error);
      }
    };
    const described = () => ({ name: `${operation} ${collection}`, kind: 'client' as const, attributes });
    return breaker.run(() => inPart(described, call), by);
  }

  async function create(name: string, vectors: { size: number; distance: Distance }, init: Init): Promise<void> {
    const collection = { collection_name: name };
    const { data } = await api.collectionExists(collection, init);
    if (!resultOf(data).exists) {
      try {
        await api.createCollection({ ...collection, vectors }, init);
      } catch (error) {
        // Another worker may have been first.
        if (statusOf(error) !== 409) throw error;
      }
    }
    // Also where the collection is there already: it may be older than one of its indexes.
    const index = (field_name: string, field_schema: 'keyword' | 'integer' | { type: 'keyword'; is_tenant: true }) =>
      api.createFieldIndex({ ...collection, field_name, field_schema, wait: true }, init);
    await Promise.all([
      index(TENANT_FIELD, { type: 'keyword', is_tenant: true }),
      ...[COLLECTION_FIELD, DOCUMENT_FIELD].map((field) => index(field, 'keyword')),
      index(PIECE_FIELD, 'integer'),
    ]);
  }

  /** The store may have been replaced by an empty one, or the collection dropped, since it was looked at. */
  function rememberLoss(collection: string): (error: unknown) => never {
    return (error) => {
      if (statusOf(error) === 404) ensured.delete(collection);
      throw error;
    };
  }

  return {
    breaker,
    ensureCollection(name, size, distance) {
      let ready = ensured.get(name);
      if (!ready) {
        // Other attempts wait for the same, so it does not stop with the signal of one.
        ready = guarded('create', name, undefined, undefined, (init) => create(name, { size, distance }, init));
        ensured.set(name, ready);
        ready.catch(() => ensured.delete(name));
      }
      return ready;
    },
    upsert: (collection, points, outer, by) =>
      guarded('upsert', collection, by, outer, async (init) => {
        const { data } = await api
          .upsertPoints({ collection_name: collection, wait: true, points }, init)
          .catch(rememberLoss(collection));
        if (resultOf(data).status !== 'completed')
          throw new TaskError('upstream_unavailable', 'Qdrant has not stored the points yet.', { retryable: true });
      }),
    query: (collection, { vector, filter, limit, scoreThreshold }, outer, by) =>
      guarded('query', collection, by, outer, async (init) => {
        const request = {
          ...{ collection_name: collection, filter, limit, with_payload: true },
          ...(vector === undefined ? {} : { query: vector }),
          ...(scoreThreshold === undefined ? {} : { score_threshold: scoreThreshold }),
        };
        const { data } = await api.queryPoints(request, init).catch(rememberLoss(collection));
        return resultOf(data).points.map(({ score, payload }) => ({
          score,
          payload: (withoutBigInts(payload) ?? {}) as Record<string, unknown>,
        }));
      }),
    count: (collection, filter, outer, by) =>
      guarded('count', collection, by, outer, async (init) => {
        try {
          const { data } = await api.countPoints({ collection_name: collection, filter, exact: true }, init);
          return resultOf(data).count;
        } catch (error) {
          if (statusOf(error) === 404) return 0;
          throw error;
        }
      }),
    remove: (collection, filter, outer, by) =>
      guarded('delete', collection, by, outer, async (init) => {
        try {
          const { data } = await api.deletePoints({ collection_name: collection, wait: true, filter }, init);
          if (resultOf(data).status !== 'completed')
            throw new TaskError('upstream_unavailable', 'Qdrant has not deleted the points yet.', { retryable: true });
        } catch (error) {
          if (statusOf(error) !== 404) throw error;
        }
      }),
    drop: (collection, outer) =>
      guarded('drop', collection, undefined, outer, async (init) => {
        ensured.delete(collection);
        try {
          await api.deleteCollection({ collection_name: collection }, init);
        } catch (error) {
          if (statusOf(error) !== 404) throw error;
        }
      }),
    ping,
  };
}

/** As the client's own, but for whom it trusts. The client fetches with that of Node, which knows the older dispatchers alone. */
function dispatcherTrusting(file: string) {
  const ca = [...getCACertificates('default'), readCertificates(file)];
  const agent = new Agent({
    connect: { ca },
    connections: 25,
    keepAliveTimeout: 10_000,
    bodyTimeout: 0,
    headersTimeout: 0,
  });
  // Two versions of the same types.
  return new Dispatcher1Wrapper(agent) as unknown as RequestInit['dispatcher'];
}

function readCertificates(file: string): string {
  try {
    const text = readFileSync(file, 'utf8');
    if (!text.includes('-----BEGIN CERTIFICATE-----')) throw new Error('it holds no certificate in PEM');
    return text;
  } catch (error) {
    throw new UsageError(`The file that QDRANT_CA_FILE names cannot be used: ${errorMessage(error)}`, { cause: error });
  }
}

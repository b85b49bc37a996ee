import { COLLECTION_FIELD, DOCUMENT_FIELD, PIECE_FIELD, TENANT_FIELD, type VectorClient } from '../clients/qdrant.ts';
import { wasLost } from '../clients/qdrant-answers.ts';
import { type CollectionRow, isThere } from '../db/collections.ts';
import type { Db } from '../db/connect.ts';
import { TaskError } from '../errors.ts';
import { looksLikeChunk, pieceId } from './chunks.ts';
import { noSuchCollection, pointId, pointIds, scopeOf, storeName, wrongDimensions } from './collection.ts';
import { scopeFilter } from './filter.ts';
import type { PointRoom } from './room.ts';

/** Where points are kept, and where it is known whose they are. */
export interface Stores {
  db: Db;
  store: VectorClient;
}

/** A point of a collection whose vector is made. */
export interface NewPoint {
  id: string | number;
  vector: number[];
  text?: string;
  /** What its user may filter by. */
  payload?: Record<string, unknown>;
  /** The document that it is a piece of, by which it can be deleted again. */
  document?: string;
  /** Of the points of a chunk after the first, which have its id too: the number, from 1. The text is with the first alone. */
  piece?: number;
}

/** Which points of a collection. */
export type Choice = { ids: Array<string | number> } | { filter: unknown } | 'all';

/**
 * Stores points and answers when they are applied; the same points again change nothing.
 * @throws TaskError `dimension_mismatch`, `limit_reached`, and `collection_not_found` where the collection was removed meanwhile
 */
export async function putPoints(
  { db, store, room }: Stores & { room: PointRoom },
  collection: CollectionRow,
  points: NewPoint[],
  signal: AbortSignal,
): Promise<void> {
  const { id, user_id, name, dimensions } = collection;
  const wrong = points.find(({ vector }) => vector.length !== dimensions);
  if (dimensions === null || wrong) throw wrongDimensions(name, dimensions ?? 0, wrong?.vector.length ?? 0);
  const stored = points.map((point) => ({
    id: point.piece === undefined ? pointId(id, point.id) : pieceId(pointId(id, point.id), point.piece),
    vector: point.vector,
    payload: {
      [TENANT_FIELD]: user_id,
      [COLLECTION_FIELD]: id,
      ...(point.document === undefined ? {} : { [DOCUMENT_FIELD]: point.document }),
      ...(point.piece === undefined ? {} : { [PIECE_FIELD]: point.piece }),
      id: point.id,
      text: point.text ?? null,
      data: point.payload ?? {},
    },
  }));
  const ids = stored.map((point) => point.id);
  await room.take(store, collection, ids, signal);
  await inStore(store, collection, (kept) => store.upsert(kept, stored, signal, user_id));
  if (await isThere(db, id)) return;
  await store.remove(storeName(collection), { must: scopeOf(collection) }, signal);
  throw noSuchCollection(name);
}

/**
 * Does what wants the place of a kind of collections in the store. It is made at first use, and again where it is gone: the store
 * may have been replaced, and the place of vectors of a user's own making goes with the last collection of its kind.
 */
export async function inStore<T>(
  store: VectorClient,
  kind: CollectionRow,
  work: (kept: string) => Promise<T>,
): Promise<T> {
  const kept = storeName(kind);
  const prepare = async () => {
    if (kind.dimensions !== null) await store.ensureCollection(kept, kind.dimensions, kind.distance);
  };
  await prepare();
  try {
    return await work(kept);
  } catch (error) {
    if (!wasLost(error)) throw error;
    await prepare();
    return work(kept);
  }
}

/**
 * Deletes points of a collection and answers how many there were. Those of documents stay, which are deleted with their document.
 * @throws TaskError `invalid_input` for a filter that is none
 */
export async function deletePoints(
  { store }: Pick<Stores, 'store'>,
  collection: CollectionRow,
  choice: Choice,
  signal: AbortSignal,
): Promise<number> {
  const filter = { must: [...scopeOf(collection), OF_NO_DOCUMENT, ...conditionsOf(collection.id, choice)] };
  if (collection.dimensions === null) return 0;
  const kept = storeName(collection);
  const count = await store.count(kept, filter, signal, collection.user_id);
  if (count > 0) await store.remove(kept, filter, signal, collection.user_id);
  return count;
}

/**
 * Refuses ids that are those of chunks of documents: who wrote over one would take a piece out of a document that says it is whole.
 * @throws TaskError `invalid_input`
 */
export async function refuseChunks(
  store: VectorClient,
  collection: CollectionRow,
  ids: Array<string | number>,
  signal: AbortSignal,
): Promise<void> {
  // Nearly nobody gives ids that could be, so nearly nobody waits for the store.
  const could = ids.filter((id) => typeof id === 'string' && looksLikeChunk(id));
  if (could.length === 0 || collection.dimensions === null) return;
  const chosen = { has_id: could.map((id) => pointId(collection.id, id)) };
  const filter = { must: [...scopeOf(collection), chosen], must_not: [OF_NO_DOCUMENT] };
  if ((await store.count(storeName(collection), filter, signal)) === 0) return;
  throw new TaskError(
    'invalid_input',
    'A point has the id of a chunk of a document, which is replaced with its document.',
  );
}

/** How many points a collection has; a chunk of a document counts as one. */
export async function countPoints(
  store: VectorClient,
  collection: CollectionRow,
  signal: AbortSignal,
): Promise<number> {
  if (collection.dimensions === null) return 0;
  return store.count(storeName(collection), { must: [...scopeOf(collection), FIRST] }, signal);
}

/** That a point is no further one of a chunk. */
const FIRST = { is_empty: { key: PIECE_FIELD } };
const OF_NO_DOCUMENT = { is_empty: { key: DOCUMENT_FIELD } };

function conditionsOf(collectionId: string, choice: Choice): object[] {
  if (choice === 'all') return [];
  if ('ids' in choice) return [{ has_id: choice.ids.map((id) => pointId(collectionId, id)) }];
  return [scopeFilter(choice.filter, (id) => pointIds(collectionId, id))];
}

/** What workers and the API say where there is no store. */
export function requireStore(store: VectorClient | undefined): VectorClient {
  if (store) return store;
  throw new TaskError('upstream_unavailable', 'This process has no vector store: ENABLE_VECTOR_SEARCH is false here.', {
    retryable: true,
  });
}

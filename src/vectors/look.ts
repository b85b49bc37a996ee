import { type FoundPoint, PIECE_FIELD } from '../clients/qdrant.ts';
import type { CollectionRow } from '../db/collections.ts';
import { searchText } from '../db/text-search.ts';
import type { Hit, SearchRequest } from '../tasks/tools.ts';
import { chunkId, MAX_PIECES } from './chunks.ts';
import { pointId, pointIds, scopeOf } from './collection.ts';
import { inStore, type Stores } from './points.ts';

/** A search of one collection, as far as it is the same whatever it goes by. */
export interface Look extends Stores {
  collection: CollectionRow;
  /** What the user asks of the points besides, in the words of the store. */
  conditions: object[];
  request: SearchRequest;
  signal: AbortSignal;
}

/** So many chunks that have the words are held against the filter at a time, and so many in all. */
const PAGE = 100;
const MAX_LOOKED = 1_000;

/**
 * The points that are nearest to a vector, or, without one, those that the conditions choose. A chunk of a document counts once, with
 * the nearest of its points.
 */
export async function nearest(look: Look, vector: number[] | undefined, limit: number, ids?: string[]): Promise<Hit[]> {
  const { collection, conditions, request } = look;
  const chosen = ids === undefined ? [] : [{ has_id: ids.flatMap((id) => pointIds(collection.id, id)) }];
  // Points of a user's own making are no chunks.
  const most = collection.embedding_model === null ? 1 : MAX_PIECES;
  const found = await ask(look, {
    ...{ vector, limit: limit * most, scoreThreshold: vector && request.score_threshold },
    filter: { must: [...scopeOf(collection), ...conditions, ...chosen] },
  });
  const best = new Map<unknown, FoundPoint>();
  for (const point of found) if (!best.has(point.payload.id)) best.set(point.payload.id, point);
  const points = [...best.values()].slice(0, limit);
  const texts = await textsOf(look, points);
  return points.map(({ score, payload }) => {
    const text = payload[PIECE_FIELD] === undefined ? payload.text : texts.get(payload.id);
    return {
      id: payload.id as string | number,
      score,
      payload: (payload.data ?? {}) as Record<string, unknown>,
      ...(typeof text === 'string' ? { text } : {}),
    };
  });
}

/** The texts of chunks of which a further point was found: they are with the first. */
async function textsOf(look: Look, points: FoundPoint[]): Promise<Map<unknown, unknown>> {
  const without = points.filter(({ payload }) => payload[PIECE_FIELD] !== undefined);
  if (without.length === 0) return new Map();
  const { collection } = look;
  const firsts = { has_id: without.map(({ payload }) => pointId(collection.id, payload.id as string)) };
  const filter = { must: [...scopeOf(collection), firsts] };
  const found = await ask(look, { limit: without.length, filter });
  return new Map(found.map(({ payload }) => [payload.id, payload.text]));
}

function ask({ store, collection, signal }: Look, query: Parameters<Look['store']['query']>[1]): Promise<FoundPoint[]> {
  return inStore(store, collection, (kept) => store.query(kept, query, signal, collection.user_id));
}

/**
 * The chunks of documents that have words of a text, best first. Postgres knows the words and the store the rest: what a chunk
 * does not pass there, the filter or with a vector the threshold, is left out.
 */
export async function withWords(look: Look, text: string, limit: number, vector?: number[]): Promise<Hit[]> {
  const { db, collection, signal } = look;
  const scope = { userId: collection.user_id, collectionId: collection.id };
  const hits: Hit[] = [];
  // Once: to rank costs the same whatever part of the ranking is asked for.
  const all = await searchText(db, scope, text, { limit: MAX_LOOKED });
  for (let from = 0; hits.length < limit && from < all.length; from += PAGE) {
    signal.throwIfAborted();
    const ranked = all.slice(from, from + PAGE);
    const ids = ranked.map(({ document_id, chunk }) => chunkId(document_id, chunk));
    const passing = await nearest(look, vector, ids.length, ids);
    const byId = new Map(passing.map((hit) => [hit.id, hit]));
    for (const [index, { score }] of ranked.entries()) {
      const hit = byId.get(ids[index] as string);
      if (hit) hits.push({ ...hit, score });
    }
  }
  return hits.slice(0, limit);
}

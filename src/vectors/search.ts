import { DOCUMENT_FIELD } from '../clients/qdrant.ts';
import { type CollectionRow, findCollection } from '../db/collections.ts';
import { listHidden } from '../db/documents.ts';
import type { Hit, SearchRequest, Tools } from '../tasks/tools.ts';
import { modelGone, noSuchCollection, pointIds, takesNoTexts, wrongDimensions } from './collection.ts';
import { scopeFilter } from './filter.ts';
import { fuse } from './fusion.ts';
import { type Look, nearest, withWords } from './look.ts';
import { holdToModel } from './model.ts';
import type { Stores } from './points.ts';

const DEFAULT_HITS = 10;
/** As deep is looked in each ranking that is merged; deeper, what is halfway down in both pushes aside what one has at its top. */
const DEPTH = 20;

/** Who searches, how a text becomes a vector for them, and until when. */
export interface Searcher {
  userId: string;
  embed: Tools['models']['embed'];
  signal: AbortSignal;
}

/**
 * Finds what is nearest in a collection of the searcher, or what has the words: the one way in, of the route and of the task types.
 * @throws TaskError `collection_not_found`, `dimension_mismatch`, `invalid_input`, or what model and store threw
 */
export async function searchCollection(
  stores: Stores,
  { userId, embed, signal }: Searcher,
  request: SearchRequest,
): Promise<{ hits: Hit[] }> {
  const { query, mode = 'vector', limit = DEFAULT_HITS } = request;
  const collection = await findCollection(stores.db, userId, request.collection);
  if (!collection) throw noSuchCollection(request.collection);
  const { id, name, embedding_model: model, dimensions } = collection;
  // Before the model is asked: what is wrong with the filter is so whatever the model says.
  const conditions: object[] =
    request.filter === undefined ? [] : [scopeFilter(request.filter, (given) => pointIds(id, given))];
  if (query !== undefined && model === null) throw takesNoTexts(name, 'search it by vector');
  // Nobody has said yet how long its vectors are, so it has none.
  if (dimensions === null) return { hits: [] };
  const hidden = await listHidden(stores.db, id);
  // Documents that are not whole, or not wanted any more.
  if (hidden.length > 0) conditions.push({ must_not: [{ key: DOCUMENT_FIELD, match: { any: hidden } }] });
  const look: Look = { ...stores, collection, conditions, request, signal };
  if (mode === 'text') return { hits: placed(await withWords(look, query ?? '', limit)) };
  const vector = request.vector ?? (await embedQuery(stores.db, embed, query ?? '', collection));
  if (vector.length !== dimensions) throw wrongDimensions(name, dimensions, vector.length);
  if (mode === 'vector') return { hits: await nearest(look, vector, limit) };
  const depth = Math.max(limit, DEPTH);
  const [near, wordy] = await Promise.all([nearest(look, vector, depth), withWords(look, query ?? '', depth, vector)]);
  return { hits: merged(near, wordy).slice(0, limit) };
}

function placed(hits: Hit[]): Hit[] {
  return hits.map((hit, index) => ({ ...hit, ranks: { vector: null, text: index + 1 } }));
}

/** What a further chunk of one part of a document counts: mostly it is about the same, and another part tells more. */
const FURTHER = 0.5;

/** Likeness finds more than words do, so it counts more: `npm run eval`. */
const WEIGHTS = { vector: 1, text: 0.7 };

function merged(near: Hit[], wordy: Hit[]): Hit[] {
  const keyOf = ({ id }: Hit) => `${typeof id}:${id}`;
  const hits = new Map([...near, ...wordy].map((hit) => [keyOf(hit), hit]));
  const parts = new Map<string, number>();
  const ranked = fuse({ vector: near.map(keyOf), text: wordy.map(keyOf) }, WEIGHTS).map(({ key, score, ranks }) => {
    const hit = hits.get(key) as Hit;
    const part = partOf(hit);
    const better = part === undefined ? 0 : (parts.get(part) ?? 0);
    if (part !== undefined) parts.set(part, better + 1);
    return { ...hit, score: score * FURTHER ** better, ranks };
  });
  return ranked.sort((a, b) => b.score - a.score);
}

/** The part of a document that a chunk is of: what stands under one heading. */
function partOf({ payload: { document_id, heading } }: Hit): string | undefined {
  return typeof document_id === 'string' && typeof heading === 'string' && heading !== ''
    ? `${document_id} ${heading}`
    : undefined;
}

async function embedQuery(
  db: Stores['db'],
  embed: Searcher['embed'],
  query: string,
  collection: CollectionRow,
): Promise<number[]> {
  const { name, embedding_model } = collection;
  const model = embedding_model ?? '';
  const embedded = await embed({ input: [query], model, fallback: false });
  if (embedded.model !== model) throw modelGone(name, model);
  await holdToModel(db, embed, collection, { digest: embedded.digest, writes: false });
  return embedded.embeddings[0] as number[];
}

import * as v from 'valibot';
import { defineTask } from './define.ts';
import { collectionName, jsonObject, strictObject, vector, wholeNumber } from './schemas.ts';
import type { SearchMode } from './tools.ts';

export const searchMode = v.optional(
  v.pipe(
    v.picklist(['vector', 'text', 'hybrid'], 'must be vector, text or hybrid'),
    v.description('By likeness of vectors, by the words of documents, or by both, merged by reciprocal rank.'),
  ),
);

/** What a search says besides where. */
export const searchFields = {
  query: v.optional(v.pipe(v.string(), v.minLength(1, 'must not be empty'))),
  vector: v.optional(vector),
  mode: searchMode,
  limit: v.optional(wholeNumber(1, 200)),
  filter: v.optional(jsonObject),
  score_threshold: v.optional(v.number()),
};

/** Either a text or a vector. */
export function hasOne(given: { query?: string; vector?: number[] }): boolean {
  return (given.query === undefined) !== (given.vector === undefined);
}
export const WANTS_ONE = 'must have either query or vector';

interface Moded {
  query?: string;
  mode?: SearchMode;
  score_threshold?: number;
}

/** Whether a search says what its mode needs, and nothing that it does not look at. */
export function fitsMode({ query, mode = 'vector', score_threshold }: Moded): boolean {
  if (mode === 'text' && score_threshold !== undefined) return false;
  return mode === 'vector' || query !== undefined;
}
export const WRONG_FOR_MODE = 'must have a query in the modes text and hybrid, and no score_threshold in the mode text';

export const searchOutput = v.strictObject({
  hits: v.array(
    v.strictObject({
      id: v.union([v.string(), v.number()]),
      score: v.pipe(
        v.number(),
        v.description(
          'Likeness; by words how well they fit; where both are merged the sum of the reciprocal ranks, that by words counting less, halved for each better chunk under the same heading.',
        ),
      ),
      ranks: v.optional(
        v.pipe(
          v.strictObject({ vector: v.nullable(v.number()), text: v.nullable(v.number()) }),
          v.description('In the modes text and hybrid: its place by each, from 1.'),
        ),
      ),
      payload: jsonObject,
      text: v.optional(v.string()),
    }),
  ),
});

export const vectorSearch = defineTask({
  name: 'vector.search',
  title: 'Search vectors',
  summary:
    'Finds the points of a collection that are nearest to a text or a vector, or the documents that have the words.',
  lane: 'vector',
  input: v.pipe(
    strictObject({ collection: collectionName, ...searchFields }),
    v.check((given) => hasOne(given), WANTS_ONE),
    v.check((given) => fitsMode(given), WRONG_FOR_MODE),
  ),
  output: searchOutput,
  vectorsOf: ({ collection, vector }) => ({
    collection,
    vectors: vector ? [{ at: 'vector', length: vector.length }] : [],
  }),
  defaults: { attempts: 3, timeoutSeconds: 60, backoff: { minMs: 500, maxMs: 30_000 } },
  examples: [{ collection: 'notes', query: 'Where can I make tea?', limit: 3 }],
  run: (input, tools) => tools.vectors.search(input),
});

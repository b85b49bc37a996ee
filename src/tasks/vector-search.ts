import * as v from 'valibot';
import { defineTask } from './define.ts';
import { collectionName, jsonObject, vector } from './schemas.ts';

export const vectorSearch = defineTask({
  name: 'vector.search',
  title: 'Search vectors',
  summary: 'Finds the points of a collection that are nearest to a text or a vector.',
  lane: 'vector',
  input: v.pipe(
    v.strictObject({
      collection: collectionName,
      query: v.optional(v.pipe(v.string(), v.minLength(1, 'must not be empty'))),
      vector: v.optional(vector),
      limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(200))),
      filter: v.optional(jsonObject),
      score_threshold: v.optional(v.number()),
    }),
    v.check(
      (given) => (given.query === undefined) !== (given.vector === undefined),
      'must have either query or vector',
    ),
  ),
  output: v.strictObject({
    hits: v.array(
      v.strictObject({
        id: v.union([v.string(), v.number()]),
        score: v.number(),
        payload: jsonObject,
        text: v.optional(v.string()),
      }),
    ),
  }),
  defaults: { attempts: 3, timeoutSeconds: 60, backoff: { minMs: 500, maxMs: 30_000 } },
  examples: [{ collection: 'notes', query: 'Where can I make tea?', limit: 3 }],
  run: (input, tools) => tools.vectors.search(input),
});

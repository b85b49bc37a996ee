import * as v from 'valibot';
import { defineTask } from './define.ts';
import { collectionName, jsonObject, vector } from './schemas.ts';

const pointId = v.union(
  [v.pipe(v.string(), v.minLength(1), v.maxLength(200)), v.pipe(v.number(), v.safeInteger(), v.minValue(0))],
  'must be a text of 1–200 characters or a whole number',
);

const point = v.pipe(
  v.strictObject({
    id: v.optional(pointId),
    text: v.optional(v.pipe(v.string(), v.minLength(1, 'must not be empty'))),
    vector: v.optional(vector),
    payload: v.optional(jsonObject),
  }),
  v.check((given) => (given.text === undefined) !== (given.vector === undefined), 'must have either text or vector'),
);

export const vectorUpsert = defineTask({
  name: 'vector.upsert',
  title: 'Store vectors',
  summary: 'Stores points in a collection, embedding those that come as text; the same id again replaces the point.',
  lane: 'vector',
  input: v.strictObject({
    collection: collectionName,
    points: v.pipe(
      v.array(point),
      v.minLength(1, 'must hold at least one point'),
      v.maxLength(1000, 'must hold at most 1000 points'),
    ),
  }),
  output: v.strictObject({ collection: v.string(), upserted: v.number(), ids: v.array(pointId) }),
  defaults: { attempts: 5, timeoutSeconds: 300, backoff: { minMs: 1_000, maxMs: 60_000 } },
  examples: [
    {
      collection: 'notes',
      points: [{ id: 'note-1', text: 'The kettle is in the kitchen.', payload: { room: 'kitchen' } }],
    },
  ],
  run: (input, tools) => tools.vectors.upsert(input),
});

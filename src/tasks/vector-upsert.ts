import * as v from 'valibot';
import { defineTask } from './define.ts';
import { collectionName, jsonObject, pointId, strictObject, vector } from './schemas.ts';

const point = v.pipe(
  strictObject({
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
  input: strictObject({
    collection: collectionName,
    points: v.pipe(
      v.array(point),
      v.minLength(1, 'must hold at least one point'),
      v.maxLength(1000, 'must hold at most 1000 points'),
      v.check(
        (points) => new Set(points.flatMap((one) => one.vector?.length ?? [])).size < 2,
        'must have vectors of one length',
      ),
      v.check((points) => {
        const ids = points.flatMap(({ id }) => (id === undefined ? [] : [`${typeof id}:${id}`]));
        return new Set(ids).size === ids.length;
      }, 'must have each id once'),
    ),
  }),
  output: v.strictObject({ collection: v.string(), upserted: v.number(), ids: v.array(pointId) }),
  vectorsOf: ({ collection, points }) => ({
    collection,
    vectors: points.flatMap((one, n) => (one.vector ? [{ at: `points/${n}/vector`, length: one.vector.length }] : [])),
  }),
  defaults: { attempts: 5, timeoutSeconds: 300, backoff: { minMs: 1_000, maxMs: 60_000 } },
  examples: [
    {
      collection: 'notes',
      points: [{ id: 'note-1', text: 'The kettle is in the kitchen.', payload: { room: 'kitchen' } }],
    },
  ],
  run: (input, tools) => tools.vectors.upsert(input),
});

import * as v from 'valibot';
import { defineTask } from './define.ts';
import { collectionName, jsonObject, pointId, strictObject } from './schemas.ts';

/** Whether a filter has a condition anywhere: without one it chooses every point, however many clauses it has. */
function hasCondition(filter: unknown): boolean {
  const clauses = Object.entries(filter as object);
  return clauses.some(([name, conditions]) => {
    if (name !== 'must' && name !== 'should' && name !== 'must_not') return true;
    // What is no condition is refused where filters are read.
    return [conditions].flat().some((one) => typeof one !== 'object' || one === null || hasCondition(one));
  });
}

export const vectorDelete = defineTask({
  name: 'vector.delete',
  title: 'Delete vectors',
  summary:
    'Deletes the points of a collection that have these ids, or that a filter chooses; never those of documents.',
  lane: 'vector',
  input: v.pipe(
    strictObject({
      collection: collectionName,
      ids: v.optional(
        v.pipe(
          v.array(pointId),
          v.minLength(1, 'must hold at least one id'),
          v.maxLength(1000, 'must hold at most 1000 ids'),
        ),
      ),
      filter: v.optional(
        v.pipe(
          jsonObject,
          v.check(
            (filter) => hasCondition(filter),
            'chooses every point: say what to choose by, or `"all": true` in its place',
          ),
        ),
      ),
      all: v.optional(v.literal(true, 'must be true, or not there')),
    }),
    v.check(
      ({ ids, filter, all }) => [ids, filter, all].filter((one) => one !== undefined).length === 1,
      'must have one of ids, filter and all',
    ),
  ),
  output: v.strictObject({ collection: v.string(), deleted: v.pipe(v.number(), v.integer(), v.minValue(0)) }),
  defaults: { attempts: 5, timeoutSeconds: 300, backoff: { minMs: 1_000, maxMs: 60_000 } },
  examples: [{ collection: 'notes', filter: { must: [{ key: 'room', match: { value: 'attic' } }] } }],
  run: (input, tools) => tools.vectors.delete(input),
});

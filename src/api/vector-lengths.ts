import { findCollections } from '../db/collections.ts';
import type { Db } from '../db/connect.ts';
import type { FieldError } from '../errors.ts';
import type { Registry } from '../tasks/index.ts';
import type { Submission } from './submit.ts';

/**
 * Vectors of another length than their collection takes, where it is there already: the task could only fail. Asks only where
 * some are given.
 * @param given submissions whose input fits their type
 */
export async function lengthErrors(
  { db, registry }: { db: Db; registry: Registry },
  userId: string,
  given: Array<{ submission: Submission; pointer: string }>,
): Promise<FieldError[]> {
  const brought = given.flatMap(({ submission: { type, input }, pointer }) => {
    const said = registry.find(type)?.vectorsOf?.(input as never);
    return said && said.vectors.length > 0 ? [{ ...said, pointer: `${pointer}/input` }] : [];
  });
  if (brought.length === 0) return [];
  const names = [...new Set(brought.map(({ collection }) => collection))];
  const known = await findCollections(db, userId, names);
  return brought.flatMap(({ collection, vectors, pointer }) => {
    const dimensions = known.get(collection)?.dimensions;
    if (typeof dimensions !== 'number') return [];
    return vectors
      .filter(({ length }) => length !== dimensions)
      .map(({ at, length }) => ({
        pointer: `${pointer}/${at}`,
        detail: `has ${length} dimensions, but the collection ${collection} takes vectors of ${dimensions}`,
      }));
  });
}

import { newId } from '../../src/db/ids.ts';
import type { World } from './world.ts';

/** A collection of vectors that tasks bring along, which had some before. */
export async function addCollection(
  { db }: Pick<World, 'db'>,
  { name, userId, dimensions }: { name: string; userId: string; dimensions: number },
): Promise<void> {
  await db
    .insertInto('collections')
    .values({ id: newId(), user_id: userId, name, embedding_model: null, dimensions })
    .execute();
}

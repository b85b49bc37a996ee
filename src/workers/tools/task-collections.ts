import { type CollectionRow, findCollection, insertCollection, wasRemovedSince } from '../../db/collections.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import { TaskError } from '../../errors.ts';
import { removedSince } from '../../vectors/collection.ts';
import type { Attempt } from '../attempt.ts';

type Task = Pick<Attempt['task'], 'id' | 'user_id'>;

/**
 * Finds the collection that a task writes into.
 * @throws TaskError `collection_not_found` where one of its name was deleted since the task was submitted
 */
export async function findFor(db: Db, task: Task, name: string): Promise<CollectionRow | undefined> {
  const known = await findCollection(db, task.user_id, name);
  if (await wasRemovedSince(db, task.id, name)) throw removedSince(name);
  return known;
}

/**
 * Makes the collection that a task writes into, or finds the one that was made meanwhile.
 * @throws TaskError `limit_reached`, or as {@link findFor}
 */
export async function makeFor(
  db: Db,
  task: Task,
  about: Pick<CollectionRow, 'name' | 'embedding_model' | 'dimensions'>,
  most: number,
): Promise<CollectionRow> {
  const made = { id: newId(), user_id: task.user_id, ...about };
  return db.transaction().execute(async (trx) => {
    const stored = await insertCollection(trx, made, most);
    if (await wasRemovedSince(trx, task.id, about.name)) throw removedSince(about.name);
    if (stored.is !== 'full') return stored.row;
    throw new TaskError(
      'limit_reached',
      `There is no collection ${about.name}, and you have ${most}, which is the most. Delete one first.`,
    );
  });
}

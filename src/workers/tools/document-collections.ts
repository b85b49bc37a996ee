import { type CollectionRow, findCollection, insertCollection } from '../../db/collections.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import { TaskError } from '../../errors.ts';
import type { Tools } from '../../tasks/tools.ts';
import { takesNoTexts } from '../../vectors/collection.ts';

interface Options {
  db: Db;
  embed: Tools['models']['embed'];
  maxCollections: number;
}

/** The collections of a user, as they are needed for documents. */
export function collectionsOf(userId: string, { db, embed, maxCollections }: Options) {
  const find = (name: string): Promise<CollectionRow | undefined> => findCollection(db, userId, name);

  return {
    find,
    /** Finds a collection, or finds out how it is to be made; what is answered makes it, without waiting for a model. */
    async prepare(name: string): Promise<() => Promise<CollectionRow>> {
      const known = await find(name);
      if (known?.embedding_model === null) throw takesNoTexts(name, 'documents want one with an embedding model');
      if (known) return async () => known;
      const { model, dimensions } = await embed({ input: ['How long is a vector?'] });
      return () => make(name, { embedding_model: model, dimensions });
    },
  };

  async function make(
    name: string,
    about: Pick<CollectionRow, 'embedding_model' | 'dimensions'>,
  ): Promise<CollectionRow> {
    const made = { id: newId(), user_id: userId, name, ...about };
    const stored = await db.transaction().execute((trx) => insertCollection(trx, made, maxCollections));
    if (stored.is !== 'full') return stored.row;
    throw new TaskError(
      'limit_reached',
      `There is no collection ${name}, and you have ${maxCollections}, which is the most. Delete one first.`,
    );
  }
}

import type { CollectionRow } from '../../db/collections.ts';
import type { Db } from '../../db/connect.ts';
import type { Tools } from '../../tasks/tools.ts';
import { takesNoTexts } from '../../vectors/collection.ts';
import type { Attempt } from '../attempt.ts';
import { findFor, makeFor } from './task-collections.ts';

interface Options {
  db: Db;
  task: Attempt['task'];
  embed: Tools['models']['embed'];
  maxCollections: number;
}

/** Finds a collection for documents, or finds out how it is to be made; what is answered makes it, without waiting for a model. */
export async function prepareCollection(
  name: string,
  { db, task, embed, maxCollections }: Options,
): Promise<() => Promise<CollectionRow>> {
  const known = await findFor(db, task, name);
  if (known?.embedding_model === null) throw takesNoTexts(name, 'documents want one with an embedding model');
  if (known) return async () => known;
  const { model, dimensions } = await embed({ input: ['How long is a vector?'] });
  return () => makeFor(db, task, { name, embedding_model: model, dimensions }, maxCollections);
}

import { v5 as uuidv5 } from 'uuid';
import { COLLECTION_FIELD, TENANT_FIELD } from '../clients/qdrant.ts';
import type { CollectionRow } from '../db/collections.ts';
import { TaskError } from '../errors.ts';
import { looksLikeChunk, MAX_PIECES, pieceId } from './chunks.ts';

type Kind = Pick<CollectionRow, 'embedding_model' | 'dimensions' | 'distance'>;

/**
 * The store's own name for collections of one kind: they share one there, where the tenant index keeps users apart. Those of the
 * usual distance were there before others could be chosen, and do not say it.
 */
export function storeName({ embedding_model, dimensions, distance }: Kind): string {
  const model = (embedding_model ?? 'vectors').replace(/[^a-zA-Z0-9]+/g, '-');
  return `sutazai_${model}_${dimensions}${distance === 'Cosine' ? '' : `_${distance.toLowerCase()}`}`;
}

/** The conditions that hold for the points of a collection and for no others. They are ours, whatever the user asks for besides. */
export function scopeOf({ id, user_id }: Pick<CollectionRow, 'id' | 'user_id'>): object[] {
  return [
    { key: TENANT_FIELD, match: { value: user_id } },
    { key: COLLECTION_FIELD, match: { value: id } },
  ];
}

/** The store's id of a point: the same id in the same collection is the same point, however often it is written. */
export function pointId(collectionId: string, id: string | number): string {
  return uuidv5(`${typeof id}:${id}`, collectionId);
}

/** The store's ids of every point that may stand for what a user calls by this id: a chunk of a document has several. */
export function pointIds(collectionId: string, id: string | number): string[] {
  const first = pointId(collectionId, id);
  if (typeof id !== 'string' || !looksLikeChunk(id)) return [first];
  return [first, ...Array.from({ length: MAX_PIECES - 1 }, (_, n) => pieceId(first, n + 1))];
}

export function noSuchCollection(name: string): TaskError {
  return new TaskError(
    'collection_not_found',
    `There is no collection ${name}. POST /api/v1/collections makes one, and so does the first vector.upsert into it.`,
  );
}

export function removedSince(name: string): TaskError {
  return new TaskError(
    'collection_not_found',
    `The collection ${name} was deleted after this task was submitted. What is to go into a new one is submitted again.`,
  );
}

export function wrongDimensions(name: string, wanted: number, given: number): TaskError {
  return new TaskError(
    'dimension_mismatch',
    `The collection ${name} takes vectors of ${wanted} dimensions, not ${given}.`,
  );
}

export function modelGone(name: string, model: string): TaskError {
  return new TaskError(
    'model_unavailable',
    `The collection ${name} was embedded with ${model}, which no host has now.`,
    { retryable: true },
  );
}

export function takesNoTexts(name: string, instead: string): TaskError {
  return new TaskError('invalid_input', `The collection ${name} holds vectors of your own making; ${instead}.`);
}

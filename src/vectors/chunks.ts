import { v5 as uuidv5, validate, version } from 'uuid';

/** A chunk has no more points than this: the first one, and those of its pieces after that. */
export const MAX_PIECES = 4;

/** The id of the point of a chunk: the same in every attempt to store it. */
export function chunkId(documentId: string, chunk: number): string {
  return uuidv5(String(chunk), documentId);
}

/** The store's id of a further point of a chunk, of which `point` is the first; no id that a user gives leads there. */
export function pieceId(point: string, piece: number): string {
  return uuidv5(`piece ${piece}`, point);
}

/** Whether an id could be that of a chunk. */
export function looksLikeChunk(id: string): boolean {
  return validate(id) && version(id) === 5;
}

import type { Collection } from './collections.ts';
import { storeError } from './errors.ts';
import { shortFloat } from './json.ts';

/** A vector as it is stored: 32-bit floats, and its length, which the dot product needs. */
export type StoredVector = { bytes: Uint8Array; norm: number };

/**
 * Makes the stored form of a vector; for cosine collections it is brought to length 1, as the real server does.
 * Throws when its dimension is not the collection's.
 */
export function toStoredVector(collection: Collection, values: number[]): StoredVector {
  if (values.length !== collection.size) {
    throw storeError('badInput', `Vector dimension error: expected dim: ${collection.size}, got ${values.length}`);
  }
  const floats = Float32Array.from(values);
  const norm = lengthOf(floats);
  if (!Number.isFinite(norm)) throw storeError('badInput', 'Vector has a number too large for a 32-bit float');
  if (collection.distance === 'Cosine' && norm > 0)
    for (const [at, value] of floats.entries()) floats[at] = value / norm;
  return { bytes: new Uint8Array(floats.buffer), norm };
}

/** The numbers of a stored vector, as short as a 32-bit float can be written. */
export function fromStoredBytes(bytes: Uint8Array): number[] {
  // A copy, because a Float32Array cannot start at just any byte of a buffer.
  return Array.from(new Float32Array(bytes.slice().buffer), shortFloat);
}

function lengthOf(floats: Float32Array): number {
  let sum = 0;
  for (const value of floats) sum += value * value;
  return Math.sqrt(sum);
}

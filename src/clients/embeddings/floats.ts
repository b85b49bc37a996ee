/**
 * Models work with floats of 32 bits, and so are embeddings kept. Written as the shortest decimal that stands for it, a number is
 * the same whether it comes from a host, from memory or from the database, and takes half the room in JSON.
 */
export function shortFloat(given: number): number {
  const float = Math.fround(given);
  for (const digits of [7, 8]) {
    const short = Number(float.toPrecision(digits));
    if (Math.fround(short) === float) return short;
  }
  return Number(float.toPrecision(9));
}

/** A vector as bytes: floats of 32 bits, the low byte first. */
export function packFloats(vector: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(vector.length * 4);
  vector.forEach((number, index) => {
    bytes.writeFloatLE(number, index * 4);
  });
  return bytes;
}

/** The vector that {@link packFloats} was given, where its numbers were short. */
export function unpackFloats(bytes: Buffer): number[] {
  return Array.from({ length: bytes.length / 4 }, (_, index) => shortFloat(bytes.readFloatLE(index * 4)));
}

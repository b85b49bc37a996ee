/** One field of a protobuf message: its number, and either a number (varint) or the bytes of any other wire type. */
export type Field = { number: number; varint: number } | { number: number; bytes: Buffer };

/**
 * Walks the fields of one protobuf message (https://protobuf.dev/programming-guides/encoding) without a schema.
 * Bytes are views into `message`; nothing is copied. Varints beyond 2^53 lose their low bits.
 * @throws when the message ends inside a field or uses a wire type that is not in use any more
 */
export function* readFields(message: Buffer): Generator<Field> {
  let offset = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = message[offset++];
      if (byte === undefined) throw new Error('protobuf: the message ends inside a number');
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Error('protobuf: a number is longer than ten bytes');
  };
  const take = (length: number): Buffer => {
    if (offset + length > message.length) throw new Error('protobuf: the message ends inside a field');
    offset += length;
    return message.subarray(offset - length, offset);
  };
  while (offset < message.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    const wireType = tag % 8;
    if (wireType === 0) yield { number, varint: varint() };
    else if (wireType === 1) yield { number, bytes: take(8) };
    else if (wireType === 2) yield { number, bytes: take(varint()) };
    else if (wireType === 5) yield { number, bytes: take(4) };
    else throw new Error(`protobuf: wire type ${wireType} of field ${number} is not supported`);
  }
}

/** Reads a packed list of varints, as proto3 writes repeated integers. */
export function readPackedVarints(bytes: Buffer): number[] {
  const values: number[] = [];
  let value = 0;
  let factor = 1;
  for (const byte of bytes) {
    value += (byte & 0x7f) * factor;
    factor *= 128;
    if (byte >= 0x80) continue;
    values.push(value);
    value = 0;
    factor = 1;
  }
  return values;
}

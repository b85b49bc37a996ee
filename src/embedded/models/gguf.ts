/// <reference lib="es2025.float16" />

/** A metadata value of a GGUF file. Integers are unsigned 32-bit, lists of integers signed 32-bit. */
export type GgufValue =
  | { kind: 'u32' | 'f32'; value: number }
  | { kind: 'bool'; value: boolean }
  | { kind: 'string'; value: string }
  | { kind: 'strings'; value: string[] }
  | { kind: 'i32s' | 'f32s'; value: ArrayLike<number> };

/** A tensor to write. `dims` come innermost first, as ggml counts them; `values` is called once, when its turn comes. */
export type GgufTensor = { name: string; dims: number[]; type: 'f32' | 'q8_0'; values: () => Float32Array };

export type GgufContent = { metadata: Record<string, GgufValue>; tensors: GgufTensor[] };

const ALIGNMENT = 32;
const BLOCK = 32;
const BLOCK_BYTES = 2 + BLOCK;
/** Numbers of `ggml_type` and of `gguf_metadata_value_type`. */
const TENSOR_TYPE = { f32: 0, q8_0: 8 };
const VALUE_TYPE = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 };

export const u32 = (value: number): GgufValue => ({ kind: 'u32', value });
export const f32 = (value: number): GgufValue => ({ kind: 'f32', value });
export const bool = (value: boolean): GgufValue => ({ kind: 'bool', value });
export const string = (value: string): GgufValue => ({ kind: 'string', value });
export const strings = (value: string[]): GgufValue => ({ kind: 'strings', value });
export const i32s = (value: ArrayLike<number>): GgufValue => ({ kind: 'i32s', value });
export const f32s = (value: ArrayLike<number>): GgufValue => ({ kind: 'f32s', value });

/**
 * Yields a GGUF file of version 3 piece by piece, one tensor in memory at a time
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
 * @throws when a tensor gives another number of values than its dims say
 */
export function* ggufFile({ metadata, tensors }: GgufContent): Generator<Buffer> {
  const entries = Object.entries(metadata);
  const parts = [Buffer.from('GGUF'), uint32(3), uint64(tensors.length), uint64(entries.length)];
  for (const [key, value] of entries) parts.push(text(key), encode(value));
  let offset = 0;
  for (const { name, dims, type, ...tensor } of tensors) {
    parts.push(text(name), uint32(dims.length), ...dims.map(uint64), uint32(TENSOR_TYPE[type]), uint64(offset));
    offset += align(byteLength({ name, dims, type, ...tensor }));
  }
  yield padded(Buffer.concat(parts));
  for (const tensor of tensors) {
    const values = tensor.values();
    const data = tensor.type === 'q8_0' ? quantizeQ8(values) : bytes(values);
    if (data.length !== byteLength(tensor)) throw new Error(`gguf: ${tensor.name} does not fit its dims`);
    yield padded(data);
  }
}

/**
 * Quantises to ggml's q8_0: blocks of 32 values, each a half-float scale (largest magnitude / 127) and 32 signed bytes.
 * @throws when the values do not fill whole blocks
 */
export function quantizeQ8(values: Float32Array): Buffer {
  if (values.length % BLOCK !== 0) throw new Error('gguf: q8_0 needs a multiple of 32 values');
  const out = Buffer.alloc((values.length / BLOCK) * BLOCK_BYTES);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  for (let block = 0; block < values.length / BLOCK; block++) {
    let largest = 0;
    for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(values[block * BLOCK + i]!));
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    view.setFloat16(block * BLOCK_BYTES, scale, true);
    for (let i = 0; i < BLOCK; i++) {
      const value = Math.fround(values[block * BLOCK + i]! * inverse);
      // Halves go away from zero, as C's roundf() does; Math.round() alone would send them up.
      view.setInt8(block * BLOCK_BYTES + 2 + i, value < 0 ? -Math.round(-value) : Math.round(value));
    }
  }
  return out;
}

function byteLength({ dims, type }: GgufTensor): number {
  const count = dims.reduce((product, dim) => product * dim, 1);
  return type === 'q8_0' ? (count / BLOCK) * BLOCK_BYTES : count * 4;
}

function align(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT;
}

function padded(data: Buffer): Buffer {
  const length = align(data.length);
  return length === data.length ? data : Buffer.concat([data], length);
}

function encode(entry: GgufValue): Buffer {
  switch (entry.kind) {
    case 'u32':
      return Buffer.concat([uint32(VALUE_TYPE.u32), uint32(entry.value)]);
    case 'f32':
      return Buffer.concat([uint32(VALUE_TYPE.f32), bytes(Float32Array.of(entry.value))]);
    case 'bool':
      return Buffer.concat([uint32(VALUE_TYPE.bool), Buffer.of(entry.value ? 1 : 0)]);
    case 'string':
      return Buffer.concat([uint32(VALUE_TYPE.string), text(entry.value)]);
    case 'strings':
      return array(VALUE_TYPE.string, entry.value.length, Buffer.concat(entry.value.map(text)));
    case 'i32s':
      return array(VALUE_TYPE.i32, entry.value.length, bytes(Int32Array.from(entry.value)));
    case 'f32s':
      return array(VALUE_TYPE.f32, entry.value.length, bytes(Float32Array.from(entry.value)));
  }
}

function array(type: number, length: number, data: Buffer): Buffer {
  return Buffer.concat([uint32(VALUE_TYPE.array), uint32(type), uint64(length), data]);
}

function text(value: string): Buffer {
  const data = Buffer.from(value, 'utf8');
  return Buffer.concat([uint64(data.length), data]);
}

function bytes(values: Float32Array | Int32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

function uint32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}

function uint64(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
}

import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { bool, f32, f32s, type GgufContent, type GgufTensor, i32s, string, strings, u32 } from './gguf.ts';

/** Where the weights end and the tokenizer begins in the package's one data file. */
const WEIGHTS_END = 60_816_028;
const HEADER = 28;

/** llama.cpp's kinds of tokens (`llama_token_type`). */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;

/** What stands in the header of a llama2.c checkpoint, in its order. */
type Shape = {
  width: number;
  hidden: number;
  layers: number;
  heads: number;
  kvHeads: number;
  vocabulary: number;
  context: number;
};

/**
 * Turns stories15M (a llama2.c checkpoint of the old format, followed by its 32k tokenizer) into the content of a GGUF.
 * Its output matrix is its embedding matrix, which llama.cpp assumes when a file has none.
 */
export function stories(path: string): GgufContent {
  const header = read(path, 0, HEADER);
  const [width = 0, hidden = 0, layers = 0, heads = 0, kvHeads = 0, vocabulary = 0, context = 0] = new Int32Array(
    header.buffer,
  );
  // A negative vocabulary size would say that the file has an output matrix of its own.
  if (vocabulary <= 0) throw new Error('stories: the checkpoint does not share its embedding matrix');
  const shape: Shape = { width, hidden, layers, heads, kvHeads, vocabulary, context };
  return { metadata: metadata(shape, read(path, WEIGHTS_END)), tensors: tensors(path, shape) };
}

/** Lays the checkpoint's matrices, each kind stored for all layers in a row, out as llama.cpp's `llama` wants them. */
function tensors(path: string, shape: Shape): GgufTensor[] {
  const { width, hidden, layers, heads, kvHeads, vocabulary } = shape;
  const kvWidth = (width / heads) * kvHeads;
  const out: GgufTensor[] = [];
  let offset = HEADER;
  const add = (name: string, dims: number[]) => {
    const size = dims.reduce((product, dim) => product * dim, 4);
    const start = offset;
    const values = () => new Float32Array(read(path, start, start + size).buffer);
    out.push({ name: `${name}.weight`, dims, type: dims.length === 1 ? 'f32' : 'q8_0', values });
    offset += size;
  };
  const each = (name: string, dims: number[]) => {
    for (let layer = 0; layer < layers; layer++) add(`blk.${layer}.${name}`, dims);
  };
  add('token_embd', [width, vocabulary]);
  each('attn_norm', [width]);
  each('attn_q', [width, width]);
  each('attn_k', [width, kvWidth]);
  each('attn_v', [width, kvWidth]);
  each('attn_output', [width, width]);
  each('ffn_norm', [width]);
  each('ffn_gate', [width, hidden]);
  each('ffn_down', [hidden, width]);
  each('ffn_up', [width, hidden]);
  add('output_norm', [width]);
  return out;
}

function metadata(shape: Shape, tokenizer: Buffer): GgufContent['metadata'] {
  const { pieces, scores, types } = readTokenizer(tokenizer, shape.vocabulary);
  return {
    'general.architecture': string('llama'),
    'general.name': string('TinyStories 15M'),
    'general.license': string('mit'),
    'general.file_type': u32(7),
    'general.quantization_version': u32(2),
    'llama.context_length': u32(shape.context),
    'llama.embedding_length': u32(shape.width),
    'llama.block_count': u32(shape.layers),
    'llama.feed_forward_length': u32(shape.hidden),
    'llama.attention.head_count': u32(shape.heads),
    'llama.attention.head_count_kv': u32(shape.kvHeads),
    'llama.rope.dimension_count': u32(shape.width / shape.heads),
    'llama.attention.layer_norm_rms_epsilon': f32(1e-5),
    'llama.vocab_size': u32(shape.vocabulary),
    'tokenizer.ggml.model': string('llama'),
    'tokenizer.ggml.tokens': strings(pieces),
    'tokenizer.ggml.scores': f32s(scores),
    'tokenizer.ggml.token_type': i32s(types),
    'tokenizer.ggml.bos_token_id': u32(1),
    'tokenizer.ggml.eos_token_id': u32(2),
    'tokenizer.ggml.unknown_token_id': u32(0),
    'tokenizer.ggml.add_bos_token': bool(true),
    'tokenizer.ggml.add_eos_token': bool(false),
  };
}

/** The tokenizer is a 4-byte maximum, then for each token its score, its length and its bytes. */
function readTokenizer(data: Buffer, vocabulary: number) {
  const pieces: string[] = [];
  const scores: number[] = [];
  const types: number[] = [];
  let offset = 4;
  for (let id = 0; id < vocabulary; id++) {
    scores.push(data.readFloatLE(offset));
    const length = data.readInt32LE(offset + 4);
    const piece = data.toString('utf8', offset + 8, offset + 8 + length);
    offset += 8 + length;
    const { text, type } = token(id, piece);
    pieces.push(text);
    types.push(type);
  }
  return { pieces, scores, types };
}

function token(id: number, piece: string): { text: string; type: number } {
  if (id === 0) return { text: '<unk>', type: UNKNOWN };
  if (id <= 2) return { text: id === 1 ? '<s>' : '</s>', type: CONTROL };
  // This old tokenizer holds the raw byte where llama.cpp looks for its name.
  if (id <= 258) return { text: `<0x${(id - 3).toString(16).toUpperCase().padStart(2, '0')}>`, type: BYTE };
  return { text: piece.replaceAll(' ', '\u2581'), type: NORMAL };
}

/** Reads a slice of a file into a buffer of its own, so that it may be viewed as numbers of four bytes. */
function read(path: string, start: number, end = statSync(path).size): Buffer<ArrayBuffer> {
  const out = Buffer.from(new ArrayBuffer(end - start));
  const file = openSync(path, 'r');
  try {
    if (readSync(file, out, 0, out.length, start) !== out.length) throw new Error(`stories: ${path} is too short`);
    return out;
  } finally {
    closeSync(file);
  }
}

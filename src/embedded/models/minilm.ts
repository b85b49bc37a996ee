import { readFileSync } from 'node:fs';
import { bool, f32, type GgufContent, type GgufTensor, i32s, string, strings, u32 } from './gguf.ts';
import { dequantized, floats, type OnnxGraph, readOnnx } from './onnx.ts';

const WIDTH = 384;
const HIDDEN = 1536;
const LAYERS = 6;

/** llama.cpp's kinds of tokens (`llama_token_type`). */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const UNUSED = 5;

/** The names of a layer's matrices in the ONNX graph and in a GGUF of llama.cpp's `bert`, with their [in, out] widths. */
const MATRICES = [
  ['attention/self/query', 'attn_q', WIDTH, WIDTH],
  ['attention/self/key', 'attn_k', WIDTH, WIDTH],
  ['attention/self/value', 'attn_v', WIDTH, WIDTH],
  ['attention/output/dense', 'attn_output', WIDTH, WIDTH],
  ['intermediate/dense', 'ffn_up', WIDTH, HIDDEN],
  ['output/dense', 'ffn_down', HIDDEN, WIDTH],
] as const;

const NORMS = [
  ['attention.output.LayerNorm', 'attn_output_norm'],
  ['output.LayerNorm', 'layer_output_norm'],
] as const;

/**
 * Turns all-MiniLM-L6-v2 (int8 ONNX and its WordPiece `tokenizer.json`) into the content of a GGUF:
 * 384 dimensions, mean pooling, 512 tokens.
 */
export function minilm(onnxPath: string, tokenizerPath: string): GgufContent {
  const graph = readOnnx(readFileSync(onnxPath));
  return { metadata: metadata(tokenizerPath), tensors: tensors(graph) };
}

function tensors(graph: OnnxGraph): GgufTensor[] {
  const out: GgufTensor[] = [];
  const vector = (name: string, source: string, size = WIDTH) =>
    out.push({ name, dims: [size], type: 'f32', values: () => floats(graph, source) });
  const embedding = (name: string, source: string, type: GgufTensor['type']) => {
    const dims = [WIDTH, graph.tensors.get(`${source}_quantized`)?.dims[0] ?? 0];
    out.push({ name, dims, type, values: () => dequantized(graph, source).values });
  };
  embedding('token_embd.weight', 'embeddings.word_embeddings.weight', 'q8_0');
  embedding('position_embd.weight', 'embeddings.position_embeddings.weight', 'f32');
  embedding('token_types.weight', 'embeddings.token_type_embeddings.weight', 'f32');
  vector('token_embd_norm.weight', 'embeddings.LayerNorm.weight');
  vector('token_embd_norm.bias', 'embeddings.LayerNorm.bias');
  const sources = matrixSources(graph);
  for (let layer = 0; layer < LAYERS; layer++) {
    for (const [path, target, input, output] of MATRICES) {
      const source = sources.get(`${layer}/${path}`);
      if (!source) throw new Error(`minilm: the graph has no multiplication for layer ${layer}, ${path}`);
      const name = `blk.${layer}.${target}`;
      out.push({
        name: `${name}.weight`,
        dims: [input, output],
        type: 'q8_0',
        values: () => transposed(graph, source),
      });
      vector(`${name}.bias`, `encoder.layer.${layer}.${path.replaceAll('/', '.')}.bias`, output);
    }
    for (const [source, target] of NORMS) {
      vector(`blk.${layer}.${target}.weight`, `encoder.layer.${layer}.${source}.weight`);
      vector(`blk.${layer}.${target}.bias`, `encoder.layer.${layer}.${source}.bias`);
    }
  }
  return out;
}

/** Quantised matrices have numbers for names (`onnx::MatMul_747`); only the node that multiplies by one tells its place. */
function matrixSources(graph: OnnxGraph): Map<string, string> {
  const sources = new Map<string, string>();
  for (const { name, operator, inputs } of graph.nodes) {
    const place = operator === 'MatMulInteger' ? /encoder\/layer\.(\d+)\/(.*)\/MatMul_quant/.exec(name) : null;
    const weights = inputs[1];
    if (place && weights) sources.set(`${place[1]}/${place[2]}`, weights.replace(/_quantized$/, ''));
  }
  return sources;
}

/** ONNX multiplies x·W with W as [in][out]; ggml keeps one row for each output. */
function transposed(graph: OnnxGraph, source: string): Float32Array {
  const { rows, columns, values } = dequantized(graph, source);
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[row * columns + column]!;
  }
  return out;
}

function metadata(tokenizerPath: string): GgufContent['metadata'] {
  const tokenizer: { model: { vocab: Record<string, number> } } = JSON.parse(readFileSync(tokenizerPath, 'utf8'));
  const pieces: string[] = [];
  for (const [piece, id] of Object.entries(tokenizer.model.vocab)) pieces[id] = piece;
  const types = pieces.map(tokenType);
  const id = (piece: string) => u32(tokenizer.model.vocab[piece] ?? 0);
  return {
    'general.architecture': string('bert'),
    'general.name': string('all-MiniLM-L6-v2'),
    'general.license': string('apache-2.0'),
    'general.file_type': u32(7),
    'general.quantization_version': u32(2),
    'bert.vocab_size': u32(pieces.length),
    'bert.context_length': u32(512),
    'bert.embedding_length': u32(WIDTH),
    'bert.feed_forward_length': u32(HIDDEN),
    'bert.block_count': u32(LAYERS),
    'bert.attention.head_count': u32(12),
    'bert.attention.layer_norm_epsilon': f32(1e-12),
    'bert.attention.causal': bool(false),
    'bert.pooling_type': u32(1),
    'tokenizer.ggml.model': string('bert'),
    'tokenizer.ggml.pre': string('jina-v2-en'),
    'tokenizer.ggml.token_type_count': u32(2),
    'tokenizer.ggml.tokens': strings(pieces.map((piece, i) => (types[i] === NORMAL ? spaced(piece) : piece))),
    'tokenizer.ggml.token_type': i32s(types),
    'tokenizer.ggml.bos_token_id': id('[CLS]'),
    'tokenizer.ggml.eos_token_id': id('[SEP]'),
    'tokenizer.ggml.cls_token_id': id('[CLS]'),
    // llama.cpp spells this key so.
    'tokenizer.ggml.seperator_token_id': id('[SEP]'),
    'tokenizer.ggml.unknown_token_id': id('[UNK]'),
    'tokenizer.ggml.padding_token_id': id('[PAD]'),
    'tokenizer.ggml.mask_token_id': id('[MASK]'),
  };
}

function tokenType(piece: string): number {
  if (/^\[(CLS|SEP|MASK|PAD)\]$/.test(piece)) return CONTROL;
  if (piece === '[UNK]') return UNKNOWN;
  return piece.startsWith('[unused') ? UNUSED : NORMAL;
}

/** WordPiece marks what continues a word; llama.cpp marks what begins one. */
function spaced(piece: string): string {
  return piece.startsWith('##') ? piece.slice(2) : `\u2581${piece}`;
}

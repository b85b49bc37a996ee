import { type Field, readFields, readPackedVarints } from './protobuf.ts';

/** A constant of an ONNX graph. `data` is little-endian, row-major. */
export type OnnxTensor = { name: string; dims: number[]; type: number; data: Buffer };

export type OnnxNode = { name: string; operator: string; inputs: string[] };

export type OnnxGraph = { tensors: Map<string, OnnxTensor>; nodes: OnnxNode[] };

/** The element types of `TensorProto.DataType` that the quantised sentence model uses. */
const FLOAT = 1;
const UINT8 = 2;
const INT8 = 3;

/**
 * Reads the constants and the nodes of an ONNX file: the few fields of `onnx.proto` that a conversion of weights needs.
 * @throws when the file holds no graph
 */
export function readOnnx(file: Buffer): OnnxGraph {
  const graph = bytesOf(readFields(file), 7)[0];
  if (!graph) throw new Error('onnx: the file holds no graph');
  const tensors = new Map<string, OnnxTensor>();
  const nodes: OnnxNode[] = [];
  for (const field of readFields(graph)) {
    if (!('bytes' in field)) continue;
    if (field.number === 1) nodes.push(readNode(field.bytes));
    if (field.number === 5) {
      const tensor = readTensor(field.bytes);
      tensors.set(tensor.name, tensor);
    }
  }
  return { tensors, nodes };
}

/** The values of a float tensor. @throws when the tensor is absent or of another type */
export function floats(graph: OnnxGraph, name: string): Float32Array {
  const tensor = getTensor(graph, name);
  if (tensor.type !== FLOAT) throw new Error(`onnx: ${name} is not a float tensor (type ${tensor.type})`);
  const copy = new Float32Array(tensor.data.length / 4);
  Buffer.from(copy.buffer).set(tensor.data);
  return copy;
}

/**
 * The float values behind `NAME_quantized`, `NAME_scale` and `NAME_zero_point`: (q - zero) * scale,
 * with one scale for the whole matrix or one for each column.
 */
export function dequantized(graph: OnnxGraph, name: string): { rows: number; columns: number; values: Float32Array } {
  const tensor = getTensor(graph, `${name}_quantized`);
  const [rows = 0, columns = 0] = tensor.dims;
  const quantized = integers(tensor);
  const scale = floats(graph, `${name}_scale`);
  const zero = integers(getTensor(graph, `${name}_zero_point`));
  if (quantized.length !== rows * columns) throw new Error(`onnx: ${name} is not a matrix of ${tensor.dims}`);
  const values = new Float32Array(quantized.length);
  for (let i = 0; i < values.length; i++) {
    const group = scale.length === 1 ? 0 : i % columns;
    values[i] = (quantized[i]! - zero[group]!) * scale[group]!;
  }
  return { rows, columns, values };
}

function getTensor(graph: OnnxGraph, name: string): OnnxTensor {
  const tensor = graph.tensors.get(name);
  if (!tensor) throw new Error(`onnx: the graph has no tensor named ${name}`);
  return tensor;
}

function integers(tensor: OnnxTensor): Int8Array | Uint8Array {
  const { data } = tensor;
  if (tensor.type === INT8) return new Int8Array(data.buffer, data.byteOffset, data.length);
  if (tensor.type === UINT8) return new Uint8Array(data.buffer, data.byteOffset, data.length);
  throw new Error(`onnx: ${tensor.name} is not a tensor of bytes (type ${tensor.type})`);
}

function readNode(message: Buffer): OnnxNode {
  const node: OnnxNode = { name: '', operator: '', inputs: [] };
  for (const field of readFields(message)) {
    if (!('bytes' in field)) continue;
    if (field.number === 1) node.inputs.push(field.bytes.toString('utf8'));
    if (field.number === 3) node.name = field.bytes.toString('utf8');
    if (field.number === 4) node.operator = field.bytes.toString('utf8');
  }
  return node;
}

function readTensor(message: Buffer): OnnxTensor {
  const tensor: OnnxTensor = { name: '', dims: [], type: 0, data: Buffer.alloc(0) };
  for (const field of readFields(message)) {
    if (field.number === 1) tensor.dims.push(...('bytes' in field ? readPackedVarints(field.bytes) : [field.varint]));
    if (field.number === 2 && 'varint' in field) tensor.type = field.varint;
    // A single scale sits in float_data, a single zero point in int32_data, everything else in raw_data.
    if (field.number === 4 && 'bytes' in field) tensor.data = Buffer.concat([tensor.data, field.bytes]);
    if (field.number === 5) {
      const values = 'bytes' in field ? readPackedVarints(field.bytes) : [field.varint];
      tensor.data = Buffer.concat([tensor.data, Buffer.from(values.map((value) => value & 0xff))]);
    }
    if (field.number === 8 && 'bytes' in field) tensor.name = field.bytes.toString('utf8');
    if (field.number === 9 && 'bytes' in field) tensor.data = field.bytes;
  }
  return tensor;
}

function bytesOf(fields: Iterable<Field>, number: number): Buffer[] {
  return [...fields].flatMap((field) => (field.number === number && 'bytes' in field ? [field.bytes] : []));
}

import type { LlamaModel } from 'node-llama-cpp';
import { describe, expect, test } from 'vitest';
import { createGate } from '../../src/embedded/models/gate.ts';
import { f32s, ggufFile, quantizeQ8, string, u32 } from '../../src/embedded/models/gguf.ts';
import { fileOfName, fullName, nameOfFile, sameName } from '../../src/embedded/models/names.ts';
import { dequantized, readOnnx } from '../../src/embedded/models/onnx.ts';
import { chatPrompt } from '../../src/embedded/models/prompt.ts';
import { readFields, readPackedVarints } from '../../src/embedded/models/protobuf.ts';
import { keepAliveMs } from '../../src/embedded/models/requests.ts';
import { createTextStream } from '../../src/embedded/models/text.ts';

/** A field of wire type 2: its tag, its length (below 128) and its bytes. */
const field = (number: number, bytes: Buffer) => Buffer.concat([Buffer.of(number * 8 + 2, bytes.length), bytes]);
const tensor = (name: string, dims: number[], type: number, raw: Buffer) =>
  field(
    5,
    Buffer.concat([field(1, Buffer.from(dims)), Buffer.of(16, type), field(8, Buffer.from(name)), field(9, raw)]),
  );

describe('the protobuf reader', () => {
  test('numbers of several bytes, fixed fields and nested bytes are read', () => {
    const message = Buffer.from([0x08, 0x96, 0x01, 0x15, 1, 2, 3, 4, 0x1a, 2, 0x68, 0x69]);
    const bytes = (...values: number[]) => Buffer.from(values);
    expect([...readFields(message)]).toEqual([
      { number: 1, varint: 150 },
      { number: 2, bytes: bytes(1, 2, 3, 4) },
      { number: 3, bytes: Buffer.from('hi') },
    ]);
    expect(readPackedVarints(bytes(3, 0x8e, 0x02, 0x9e, 0xa7, 0x05))).toEqual([3, 270, 86942]);
  });

  test('a message that is cut off is an error, not a shorter message', () => {
    expect(() => [...readFields(Buffer.from([0x1a, 5, 0x68]))]).toThrow('ends inside a field');
    expect(() => [...readFields(Buffer.from([0x08, 0x96]))]).toThrow('ends inside a number');
  });

  test('a quantised matrix of an ONNX file becomes floats again', () => {
    const scale = Buffer.from(Float32Array.of(0.5).buffer);
    const graph = Buffer.concat([
      tensor('w_quantized', [2, 2], 2, Buffer.of(130, 128, 126, 255)),
      tensor('w_scale', [], 1, scale),
      tensor('w_zero_point', [], 2, Buffer.of(128)),
    ]);
    const { rows, columns, values } = dequantized(readOnnx(field(7, graph)), 'w');
    expect({ rows, columns, values: [...values] }).toEqual({ rows: 2, columns: 2, values: [1, 0, -1, 63.5] });
  });
});

describe('the GGUF writer', () => {
  test('q8_0 keeps every value to half a step of its block', () => {
    const values = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i) * (i < 32 ? 1 : 100));
    const data = quantizeQ8(values);
    expect(data.length).toBe(2 * 34);
    for (let i = 0; i < 64; i++) {
      const block = Math.floor(i / 32) * 34;
      const scale = half(data.readUInt16LE(block));
      expect(Math.abs(scale * data.readInt8(block + 2 + (i % 32)) - values[i]!)).toBeLessThanOrEqual(scale * 0.55);
    }
    expect(() => quantizeQ8(new Float32Array(31))).toThrow('multiple of 32');
  });

  test('header and tensors are aligned to 32 bytes', () => {
    const vector = { name: 'a', dims: [3], type: 'f32' as const, values: () => Float32Array.of(1, 2, 3) };
    const metadata = { 'general.architecture': string('x'), n: u32(7), list: f32s([1]) };
    const [header, ...data] = [...ggufFile({ metadata, tensors: [vector, { ...vector, name: 'b' }] })];
    expect(header?.toString('latin1', 0, 4)).toBe('GGUF');
    expect(header?.readUInt32LE(4)).toBe(3);
    expect(Number(header?.readBigUInt64LE(8))).toBe(2);
    expect([header!.length % 32, ...data.map((chunk) => chunk.length)]).toEqual([0, 32, 32]);
    expect(() => [...ggufFile({ metadata, tensors: [{ ...vector, dims: [4] }] })]).toThrow('does not fit its dims');
  });
});

describe('the text stream', () => {
  const bytes = (tokens: number[]) => Buffer.from(tokens).toString('utf8');
  const collect = (text: string, stops: string[]) => {
    const stream = createTextStream({ detokenize: bytes, stops, before: [] });
    const pushed = [...Buffer.from(text)].map((byte) => stream.push(byte));
    return { pushed, text: pushed.join('') + stream.flush(), stopped: stream.stopped() };
  };

  test('no half of a character is given out', () => {
    const { pushed, text } = collect('a🐶é', []);
    expect(text).toBe('a🐶é');
    expect(pushed).toEqual(['a', '', '', '', '🐶', '', 'é']);
  });

  test('a stop text is found across tokens, and what only looked like one comes in the end', () => {
    expect(collect('one two END three', ['END'])).toMatchObject({ text: 'one two ', stopped: true });
    expect(collect('one EN', ['END'])).toMatchObject({ text: 'one EN', stopped: false });
  });
});

describe('the prompt', () => {
  // A tokenizer of whole words will do where only what is kept matters.
  const words: string[] = [];
  const tokenize = (text: string) => text.split(/\s+/).map((word) => words.push(word) - 1);
  const model = { tokenize, tokens: { bos: null, shouldPrependBosToken: false } } as unknown as LlamaModel;
  const text = async (limit: number, truncate = true) => {
    const contents = ['be kind', 'one two three', 'four five six', 'seven eight'];
    const messages = contents.map((content, i) => ({ role: i === 0 ? 'system' : 'user', content }));
    const { tokens } = await chatPrompt(messages, { model, template: undefined, limit, truncate });
    return tokens.map((token) => words[token]).join(' ');
  };

  test('of a chat too long the oldest messages go, the system and the last one stay', async () => {
    expect(await text(10)).toBe('be kind one two three four five six seven eight');
    expect(await text(9)).toBe('be kind four five six seven eight');
    expect(await text(4)).toBe('be kind seven eight');
    expect(await text(3)).toBe('be seven eight');
    await expect(text(9, false)).rejects.toMatchObject({ status: 400 });
  });
});

describe('the gate', () => {
  const never = new AbortController().signal;

  test('who waits enters in order; who is one too many is refused at once; who gives up makes room', async () => {
    const gate = createGate(1, { count: 0, limit: 2 });
    const slot = await gate.enter(never);
    const leaving = new AbortController();
    const second = gate.enter(leaving.signal);
    const third = gate.enter(never);
    await expect(gate.enter(never)).rejects.toMatchObject({ status: 503 });
    leaving.abort();
    await expect(second).rejects.toMatchObject({ status: 499 });
    gate.leave(slot);
    expect(await third).toBe(slot);
  });
});

describe('names and durations', () => {
  test('a name is the same without its tag, in other case and with the default registry', () => {
    expect(fullName('all-minilm')).toBe('all-minilm:latest');
    expect(sameName('registry.ollama.ai/library/All-MiniLM', 'all-minilm:latest')).toBe(true);
    expect(fullName('https://huggingface.co/a/b:Q8_0')).toBe('hf.co/a/b:Q8_0');
  });

  test('every name has a file of its own and comes back from it', () => {
    for (const name of ['mine:latest', 'mine:7b', 'hf.co/a/b:Q8_0']) expect(nameOfFile(fileOfName(name))).toBe(name);
    expect(fileOfName('../../etc/passwd')).not.toContain('/');
    expect(nameOfFile('100%.gguf')).toBe('100%:latest');
    expect(nameOfFile('big-00001-of-00003.gguf')).toBeUndefined();
  });

  test('keep_alive is seconds or a duration of Go', () => {
    expect([30, 0, '5m', '1h30m', '250ms', '0'].map(keepAliveMs)).toEqual([30_000, 0, 300_000, 5_400_000, 250, 0]);
    expect([-1, '-1m', undefined].map(keepAliveMs)).toEqual([Infinity, Infinity, undefined]);
    expect(() => keepAliveMs('10')).toThrow('invalid duration');
  });
});

/** A normal half-float as a number. */
function half(bits: number): number {
  return (1 + (bits & 0x3ff) / 1024) * 2 ** (((bits >> 10) & 0x1f) - 15);
}

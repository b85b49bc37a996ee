import type { LlamaEmbeddingContext, LlamaModel, Token } from 'node-llama-cpp';
import type { Model } from './catalog.ts';
import { httpError } from './errors.ts';
import { canceled } from './gate.ts';
import { nanoseconds } from './generate.ts';
import type { Runtime } from './runtime.ts';

export type EmbedInput = {
  model: Model;
  texts: string[];
  contextSize: number | undefined;
  keepAliveMs: number | undefined;
  /** False makes a text beyond the context an error. */
  truncate: boolean;
  /** How many leading dimensions to keep; all when undefined. */
  dimensions: number | undefined;
};

export type Embedded = {
  embeddings: number[][];
  total_duration: number;
  load_duration: number;
  prompt_eval_count: number;
};

/**
 * Computes one embedding of length 1 for each text, in order.
 * @throws 400 when a text is too long and must not be truncated
 */
export async function embed(runtime: Runtime, input: EmbedInput, signal: AbortSignal): Promise<Embedded> {
  const started = performance.now();
  const { contextSize, keepAliveMs } = input;
  const lease = await runtime.lease(input.model, { contextSize, keepAliveMs, signal });
  try {
    const { model, slot } = lease;
    if (slot.kind !== 'embedding') throw new Error(`${input.model.name} was not loaded for embeddings`);
    const prepared = input.texts.map((text) => tokens(model, slot.embedder, text, slot.size, input.truncate));
    const embeddings: number[][] = [];
    for (const { tokens } of prepared) {
      if (signal.aborted) throw canceled();
      const { vector } = await slot.embedder.getEmbeddingFor(tokens);
      embeddings.push(normalized(vector.slice(0, input.dimensions)));
    }
    return {
      embeddings,
      total_duration: nanoseconds(performance.now() - started),
      load_duration: nanoseconds(lease.loadMs),
      prompt_eval_count: prepared.reduce((sum, { length }) => sum + length, 0),
    };
  } finally {
    await lease.release();
  }
}

function tokens(model: LlamaModel, embedder: LlamaEmbeddingContext, text: string, limit: number, truncate: boolean) {
  const all = model.tokenize(text);
  // The library has no embedding for no tokens at all, while a text's frame of special tokens has one.
  const framed: Token[] = all.length === 0 && model.tokens.bos !== null ? [model.tokens.bos] : all;
  const length = embedder.calculateInputLength(framed);
  if (length <= limit) return { tokens: framed, length };
  if (!truncate) throw httpError(400, 'the input length exceeds the context length');
  return { tokens: framed.slice(0, framed.length - (length - limit)), length: limit };
}

function normalized(vector: readonly number[]): number[] {
  const length = Math.hypot(...vector);
  return vector.map((value) => (length === 0 ? 0 : value / length));
}

import { randomInt } from 'node:crypto';
import type { LlamaContextSequence, LlamaModel, SequenceEvaluateOptions, Token } from 'node-llama-cpp';
import type { Model } from './catalog.ts';
import { grammarFor } from './format.ts';
import { canceled } from './gate.ts';
import type { Prompt, PromptOptions } from './prompt.ts';
import type { ModelOptions } from './requests.ts';
import type { Lease, Runtime } from './runtime.ts';
import { createTextStream } from './text.ts';

/** What a generation reports: text as it comes, then one `done`. Durations are in nanoseconds, as Ollama's. */
export type Generated = { done: false; text: string } | { done: true; reason: 'stop' | 'length'; timings: Timings };

export type Timings = {
  total_duration: number;
  load_duration: number;
  prompt_eval_count: number;
  prompt_eval_duration: number;
  eval_count: number;
  eval_duration: number;
};

export type GenerateInput = {
  model: Model;
  options: ModelOptions;
  format: unknown;
  keepAliveMs: number | undefined;
  truncate: boolean;
  /** False ends the answer when the context is full, instead of forgetting its beginning. */
  shift: boolean;
  prompt: (options: PromptOptions) => Promise<Prompt> | Prompt;
};

/** An abort is noticed between pieces of a long prompt, so a piece is short enough to compute in about a second. */
const PROMPT_PIECE = 128;
/** Ollama's limit for an answer that has none, as a multiple of the context. */
const ENDLESS = 10;

/**
 * Runs one prompt to its end. The model's slot is given back before `done` is reported, and whenever the caller stops
 * iterating or the signal aborts.
 */
export async function* generate(
  runtime: Runtime,
  input: GenerateInput,
  signal: AbortSignal,
): AsyncGenerator<Generated> {
  const started = performance.now();
  const { options } = input;
  const lease = await runtime.lease(input.model, {
    contextSize: options.num_ctx,
    keepAliveMs: input.keepAliveMs,
    signal,
  });
  try {
    const { model, slot } = lease;
    if (slot.kind !== 'completion') throw new Error(`${input.model.name} was loaded for embeddings`);
    const { template } = input.model.card;
    const prompt = await input.prompt({ model, template, limit: slot.size - 1, truncate: input.truncate });
    const promptStarted = performance.now();
    await readPrompt(slot.sequence, prompt.tokens, options, signal);
    const answer = await answerTokens(lease, slot.sequence, prompt, input);
    const stops = [options.stop ?? [], prompt.stopTexts, answer.stopTexts].flat();
    const detokenize = (tokens: number[], before: number[]) =>
      model.detokenize(tokens as Token[], false, before as Token[]);
    const text = createTextStream({ detokenize, stops, before: prompt.tokens });
    const limit = tokenLimit(options, slot.size, prompt.tokens.length, input.shift);
    const endTokens = new Set(prompt.stopTokens);
    let promptMs: number | undefined;
    let count = 0;
    for await (const token of answer.tokens) {
      promptMs ??= performance.now() - promptStarted;
      if (signal.aborted) throw canceled();
      if (endsText(model, token) || endTokens.has(token)) break;
      count++;
      const certain = text.push(token);
      if (certain) yield { done: false, text: certain };
      if (signal.aborted) throw canceled();
      if (text.stopped() || count >= limit) break;
    }
    const rest = text.flush();
    if (rest) yield { done: false, text: rest };
    const ended = performance.now();
    promptMs ??= ended - promptStarted;
    await lease.release();
    yield {
      done: true,
      reason: count >= limit && !text.stopped() ? 'length' : 'stop',
      timings: {
        total_duration: nanoseconds(ended - started),
        load_duration: nanoseconds(lease.loadMs),
        prompt_eval_count: prompt.tokens.length,
        prompt_eval_duration: nanoseconds(promptMs),
        eval_count: count,
        eval_duration: nanoseconds(ended - promptStarted - promptMs),
      },
    };
  } finally {
    await lease.release();
  }
}

export function nanoseconds(ms: number): number {
  return Math.max(1, Math.round(ms * 1e6));
}

/** Computes all of the prompt but its last token, on top of what the slot still knows from the request before. */
async function readPrompt(sequence: LlamaContextSequence, tokens: Token[], options: ModelOptions, signal: AbortSignal) {
  // Who gives a seed wants the same text again, and a beginning that is already known is computed in other batches.
  if (options.seed !== undefined || options.temperature === 0) await sequence.clearHistory();
  else await sequence.adaptStateToTokens(tokens.slice(0, -1), false);
  while (sequence.nextTokenIndex < tokens.length - 1) {
    if (signal.aborted) throw canceled();
    const from = sequence.nextTokenIndex;
    await sequence.evaluateWithoutGeneratingNewTokens(
      tokens.slice(from, Math.min(from + PROMPT_PIECE, tokens.length - 1)),
    );
  }
  if (signal.aborted) throw canceled();
}

async function answerTokens(lease: Lease, sequence: LlamaContextSequence, prompt: Prompt, input: GenerateInput) {
  const { options } = input;
  const grammar = await grammarFor(lease.llama, input.format);
  const sampling: SequenceEvaluateOptions = {
    temperature: Math.max(0, options.temperature ?? 0.8),
    topK: options.top_k ?? 40,
    topP: options.top_p ?? 0.9,
    minP: options.min_p ?? 0,
    seed: options.seed !== undefined && options.seed >= 0 ? options.seed : randomInt(2 ** 31),
    yieldEogToken: true,
  };
  const lastTokens = options.repeat_last_n ?? 64;
  const penalised = lastTokens < 0 ? sequence.contextSize : lastTokens;
  if (penalised > 0) {
    sampling.repeatPenalty = {
      punishTokens: () => sequence.contextTokens.slice(-penalised),
      maxPunishTokens: penalised,
      penalty: options.repeat_penalty ?? 1.1,
      presencePenalty: options.presence_penalty ?? 0,
      frequencyPenalty: options.frequency_penalty ?? 0,
    };
  }
  if (grammar) {
    const { LlamaGrammarEvaluationState, TokenBias } = await import('node-llama-cpp');
    sampling.grammarEvaluationState = new LlamaGrammarEvaluationState({ model: lease.model, grammar });
    const { bos } = lease.model.tokens;
    // A grammar sees BOS as the text "<s>", fit for any string; it would end the answer in the middle of its JSON.
    if (bos !== null) sampling.tokenBias = new TokenBias(lease.model.tokenizer).set(bos, 'never');
  }
  const stopTexts = (grammar?.stopGenerationTriggers ?? []).map(String);
  return { tokens: sequence.evaluate(prompt.tokens.slice(-1), sampling), stopTexts };
}

/** A text begins with BOS; a model that writes it (as stories15m does) has ended one text and begins another. */
function endsText(model: LlamaModel, token: Token): boolean {
  return model.isEogToken(token) || token === model.tokens.bos;
}

function tokenLimit(options: ModelOptions, contextSize: number, promptLength: number, shift: boolean): number {
  const room = shift ? ENDLESS * contextSize : contextSize - promptLength;
  const wanted = options.num_predict ?? -1;
  return Math.max(1, wanted <= 0 ? room : Math.min(wanted, room));
}

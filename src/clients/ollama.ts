// The browser build does not open files: the other one reads an image given as text from disk when such a path exists.
import { type ChatResponse, type GenerateResponse, Ollama } from 'ollama/browser';
import { Agent } from 'undici';
import { TaskError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type {
  ChatAnswer,
  ChatRequest,
  EmbedAnswer,
  GenerateAnswer,
  GenerateRequest,
  ModelChoice,
  Usage,
} from '../tasks/tools.ts';
import { type Breaker, createBreaker, createBreakers } from './breaker.ts';
import { type Capability, createModelCatalogue, type ModelCatalogue } from './models.ts';
import { counter, isTooLong, jsonOf, tooLong, usageOf } from './ollama-answers.ts';
import { createOllamaFetch } from './ollama-fetch.ts';
import { UpstreamRefusal, upstreamError } from './upstream.ts';

/** What a call of a model belongs to. */
export interface ModelCall {
  signal: AbortSignal;
  /** Hears each piece of text as it is made. */
  onText?: (text: string) => void;
  /** The call is broken off when the answer has more. */
  maxBytes?: number;
}

export interface Answered<T> {
  answer: T;
  usage: Usage;
}

/** The Ollama host, with our choice of model and our classes of error. */
export interface ModelClient {
  models: ModelCatalogue;
  /** That of the host; each model on it has one of its own besides. */
  breaker: Breaker;
  chat(request: ChatRequest, call: ModelCall): Promise<Answered<ChatAnswer>>;
  generate(request: GenerateRequest, call: ModelCall): Promise<Answered<GenerateAnswer>>;
  embed(request: { input: string[]; model?: string }, call: ModelCall): Promise<Answered<EmbedAnswer>>;
  /** The version that the host reports. @throws when it cannot be reached */
  ping(signal: AbortSignal): Promise<string>;
  close(): Promise<void>;
}

interface Options {
  host: string;
  defaultModel?: string;
  embeddingModel?: string;
  allowed: readonly string[];
  autoPull: boolean;
  /** How long a model may say nothing between two pieces; {@link STALL_MS} by default. */
  stallMs?: number;
  log: Logger;
}

/** A model that says nothing for this long between two pieces has stalled. The first piece may take as long as the task. */
const STALL_MS = 120_000;

/** Ollama cuts off what does not fit the context, and says nothing, unless it is told not to. */
const STRICT = { truncate: false };

/** A pull is silent while the host checks what it loaded, which takes minutes for a large model on a slow disk. */
const PULL_STALL_MS = 600_000;
const PROBE_MS = 5_000;

/** Makes the client. Nothing connects before first use. */
export function createModelClient(options: Options): ModelClient {
  // A cold load takes minutes without a word, so only the task's own time-out bounds the wait for the first piece.
  const agent = new Agent({
    headersTimeout: 0,
    bodyTimeout: options.stallMs ?? STALL_MS,
    connect: { timeout: 5_000 },
  });
  const pulls = new Agent({ headersTimeout: PULL_STALL_MS, bodyTimeout: PULL_STALL_MS, connect: { timeout: 5_000 } });

  /** One Ollama object a call: its own abort switch would stop the calls of all others too. */
  function client(signal?: AbortSignal, kind?: 'pull'): Ollama {
    return new Ollama({ host: options.host, fetch: createOllamaFetch(kind === 'pull' ? pulls : agent, signal) });
  }

  const ping = async (signal: AbortSignal) => (await client(signal).version()).version;
  const models = createModelCatalogue({
    client,
    defaults: { completion: options.defaultModel, embedding: options.embeddingModel },
    allowed: options.allowed,
    autoPull: options.autoPull,
  });
  const breaker = createBreaker({
    name: 'Ollama',
    probe: () => ping(AbortSignal.timeout(PROBE_MS)),
    trips: ({ outage }) => outage === 'away',
    log: options.log,
  });
  // A model that is too large for the host answers 500 for ever; the others must not wait for that.
  const ofModel = createBreakers((model) =>
    createBreaker({
      name: `The model ${model}`,
      trips: ({ outage }) => outage === 'failing',
      log: options.log,
    }),
  );

  /** Chooses the model and calls it. What is thrown is a TaskError, or the reason of the signal when that aborts. */
  async function call<T>(
    outer: AbortSignal,
    requested: string | undefined,
    capability: Capability,
    work: (model: string, signal: AbortSignal) => Promise<Answered<T>>,
  ): Promise<Answered<T & ModelChoice>> {
    return breaker.run(async () => {
      const choice = await models.select(requested, capability, { signal: outer }).catch((error) => {
        outer.throwIfAborted();
        throw error;
      });
      const { answer, usage } = await ofModel.of(choice.model).run(() => guarded(outer, choice.model, work));
      return { answer: { ...answer, ...choice }, usage };
    });
  }

  async function guarded<T>(
    outer: AbortSignal,
    model: string,
    work: (model: string, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const abort = new AbortController();
    try {
      return await work(model, AbortSignal.any([outer, abort.signal]));
    } catch (error) {
      // Whoever stops reading in the middle must not leave the model writing.
      abort.abort();
      outer.throwIfAborted();
      if (error instanceof UpstreamRefusal && error.status === 404) {
        await models.list(true).catch(() => {});
        const message = `Ollama says: ${error.message}`;
        throw new TaskError('model_unavailable', message, { retryable: true, cause: error });
      }
      if (error instanceof UpstreamRefusal && isTooLong(error)) throw tooLong(model, error);
      throw upstreamError('Ollama', error);
    }
  }

  return {
    models,
    breaker,
    chat: ({ model: requested, ...request }, { signal: outer, onText, maxBytes }) =>
      call(outer, requested, 'completion', async (model, signal) => {
        const count = counter(maxBytes);
        const stream = await client(signal).chat({ ...request, ...STRICT, model, stream: true } as never);
        let content = '';
        const toolCalls: unknown[] = [];
        let last: ChatResponse | undefined;
        for await (const piece of stream as unknown as AsyncIterable<ChatResponse>) {
          last = piece;
          if (piece.message?.tool_calls) {
            count(jsonOf(piece.message.tool_calls));
            toolCalls.push(...piece.message.tool_calls);
          }
          if (piece.message?.content) {
            count(piece.message.content);
            content += piece.message.content;
            onText?.(piece.message.content);
          }
        }
        const message = {
          role: 'assistant' as const,
          content,
          ...(toolCalls.length > 0 ? { tool_calls: toolCalls } : {}),
        };
        return { answer: { message, done_reason: last?.done_reason ?? 'stop' }, usage: usageOf(last) };
      }),

    generate: ({ model: requested, ...request }, { signal: outer, onText, maxBytes }) =>
      call(outer, requested, 'completion', async (model, signal) => {
        const count = counter(maxBytes);
        const stream = await client(signal).generate({ ...request, ...STRICT, model, stream: true } as never);
        let text = '';
        let last: GenerateResponse | undefined;
        for await (const piece of stream as unknown as AsyncIterable<GenerateResponse>) {
          last = piece;
          if (piece.response) {
            count(piece.response);
            text += piece.response;
            onText?.(piece.response);
          }
        }
        return { answer: { text, done_reason: last?.done_reason ?? 'stop' }, usage: usageOf(last) };
      }),

    embed: ({ model: requested, input }, { signal: outer }) =>
      call(outer, requested, 'embedding', async (model, signal) => {
        const { embeddings, ...timed } = await client(signal).embed({ model, input, ...STRICT });
        const dimensions = embeddings?.[0]?.length ?? 0;
        if (embeddings?.length !== input.length || dimensions === 0) {
          throw new TaskError(
            'upstream_protocol',
            `Ollama answered ${embeddings?.length ?? 'no'} embeddings for ${input.length} texts.`,
            { retryable: true },
          );
        }
        return { answer: { embeddings, dimensions }, usage: usageOf(timed) };
      }),

    ping,
    async close() {
      await Promise.all([agent.destroy(), pulls.destroy()]);
    },
  };
}

// The browser build does not open files: the other one reads an image given as text from disk when such a path exists.
import { type ChatResponse, type GenerateResponse, Ollama } from 'ollama/browser';
import { Agent, fetch as undiciFetch } from 'undici';
import { TaskError } from '../errors.ts';
import type { ChatAnswer, ChatRequest, EmbedAnswer, GenerateAnswer, GenerateRequest, Usage } from '../tasks/tools.ts';
import { createModelCatalogue, type ModelCatalogue } from './models.ts';
import { upstreamError } from './upstream.ts';

/** What a call of a model belongs to. */
export interface ModelCall {
  signal: AbortSignal;
  /** Hears each piece of text as it is made. */
  onText?: (text: string) => void;
}

export interface Answered<T> {
  answer: T;
  usage: Usage;
}

/** The Ollama host, with our choice of model and our classes of error. */
export interface ModelClient {
  models: ModelCatalogue;
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
}

/** A model that says nothing for this long between two pieces has stalled. The first piece may take as long as the task. */
const STALL_MS = 120_000;

/** Makes the client. Nothing connects before first use. */
export function createModelClient(options: Options): ModelClient {
  const agent = new Agent({
    headersTimeout: 0,
    bodyTimeout: options.stallMs ?? STALL_MS,
    connect: { timeout: 5_000 },
    connections: 64,
  });

  /** One Ollama object a call: its own abort switch would stop the calls of all others too. */
  function client(signal?: AbortSignal): Ollama {
    const fetchWithSignal = (input: unknown, init?: { signal?: AbortSignal | null }) => {
      const signals = [signal, init?.signal].filter((one) => one !== undefined && one !== null);
      return undiciFetch(input as string, { ...(init as object), dispatcher: agent, signal: AbortSignal.any(signals) });
    };
    return new Ollama({ host: options.host, fetch: fetchWithSignal as unknown as typeof fetch });
  }

  const models = createModelCatalogue({
    client,
    defaults: { completion: options.defaultModel, embedding: options.embeddingModel },
    allowed: options.allowed,
    autoPull: options.autoPull,
  });

  async function guarded<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const call = new AbortController();
    try {
      return await work(AbortSignal.any([signal, call.signal]));
    } catch (error) {
      // Whoever stops reading in the middle must not leave the model writing.
      call.abort();
      signal.throwIfAborted();
      const status = (error as { status_code?: number }).status_code;
      if (status === 404) {
        await models.list(true).catch(() => {});
        throw new TaskError('model_unavailable', `Ollama says: ${(error as Error).message}`, {
          retryable: true,
          cause: error,
        });
      }
      throw upstreamError('Ollama', error, status);
    }
  }

  return {
    models,
    chat: ({ model: requested, ...request }, { signal: outer, onText }) =>
      guarded(outer, async (signal) => {
        const choice = await models.select(requested, 'completion', { signal });
        const stream = await client(signal).chat({ ...request, model: choice.model, stream: true } as never);
        let content = '';
        const toolCalls: unknown[] = [];
        let last: ChatResponse | undefined;
        for await (const piece of stream as unknown as AsyncIterable<ChatResponse>) {
          last = piece;
          toolCalls.push(...(piece.message?.tool_calls ?? []));
          if (piece.message?.content) {
            content += piece.message.content;
            onText?.(piece.message.content);
          }
        }
        const message = {
          role: 'assistant' as const,
          content,
          ...(toolCalls.length > 0 ? { tool_calls: toolCalls } : {}),
        };
        return { answer: { message, done_reason: last?.done_reason ?? 'stop', ...choice }, usage: usageOf(last) };
      }),

    generate: ({ model: requested, ...request }, { signal: outer, onText }) =>
      guarded(outer, async (signal) => {
        const choice = await models.select(requested, 'completion', { signal });
        const stream = await client(signal).generate({ ...request, model: choice.model, stream: true } as never);
        let text = '';
        let last: GenerateResponse | undefined;
        for await (const piece of stream as unknown as AsyncIterable<GenerateResponse>) {
          last = piece;
          if (piece.response) {
            text += piece.response;
            onText?.(piece.response);
          }
        }
        return { answer: { text, done_reason: last?.done_reason ?? 'stop', ...choice }, usage: usageOf(last) };
      }),

    embed: ({ model: requested, input }, { signal: outer }) =>
      guarded(outer, async (signal) => {
        const choice = await models.select(requested, 'embedding', { signal });
        const answer = await client(signal).embed({ model: choice.model, input });
        const dimensions = answer.embeddings[0]?.length ?? 0;
        if (answer.embeddings.length !== input.length || dimensions === 0) {
          throw new TaskError(
            'upstream_protocol',
            `Ollama answered ${answer.embeddings.length} embeddings for ${input.length} texts.`,
            { retryable: true },
          );
        }
        return { answer: { embeddings: answer.embeddings, dimensions, ...choice }, usage: usageOf(answer) };
      }),

    async ping(signal) {
      const answer = await client(signal).version();
      return answer.version;
    },
    close: () => agent.destroy(),
  };
}

type Timed = { prompt_eval_count?: number; eval_count?: number; load_duration?: number; total_duration?: number };

/** Ollama counts in nanoseconds. */
function usageOf(last: Timed | undefined): Usage {
  const ms = (nanoseconds: number | undefined) => Math.round((nanoseconds ?? 0) / 1e6);
  return {
    input_tokens: last?.prompt_eval_count ?? 0,
    output_tokens: last?.eval_count ?? 0,
    load_ms: ms(last?.load_duration),
    run_ms: ms((last?.total_duration ?? 0) - (last?.load_duration ?? 0)),
  };
}

// The browser build does not open files: the other one reads an image given as text from disk when such a path exists.
import { type ChatResponse, type GenerateResponse, Ollama } from 'ollama/browser';
import { TaskError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { ModelChoice } from '../tasks/tools.ts';
import { createHosts, type Host, type MakeClient, pullModel, removeModel, type SlotBounds } from './hosts/index.ts';
import { measured, type Operation } from './measure.ts';
import type { Answered, ModelCall, ModelClient } from './model-client.ts';
import { canonicalName } from './model-names.ts';
import { createModelCatalogue } from './models.ts';
import { counter, isTooLong, jsonOf, tooLong, usageOf } from './ollama-answers.ts';
import { createOllamaFetch } from './ollama-fetch.ts';
import { UpstreamRefusal, upstreamError } from './upstream.ts';
import { createWires } from './wires.ts';

export type { Outlook, Removal } from './hosts/index.ts';
export type * from './model-client.ts';

interface Options extends Partial<SlotBounds> {
  hosts: readonly string[];
  defaultModel?: string;
  embeddingModel?: string;
  /** Tried in this order in the place of a model that is not there. */
  fallbacks?: readonly string[];
  /** Only these may be used; empty means all. */
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

/** A host that takes longer to tell its version counts as away. */
const ANSWER_MS = 1_500;

/** What Ollama does without being told: one call of a model at a time, three models in memory. */
const USUAL: SlotBounds = { parallel: 1, maxLoaded: 3 };

/** Makes the client. Nothing connects before first use. */
export function createModelClient(options: Options): ModelClient {
  const wires = createWires(options.stallMs ?? STALL_MS);

  /** One Ollama object a call: its own abort switch would stop the calls of all others too. */
  const clientOf =
    (host: string): MakeClient =>
    (signal, kind) =>
      new Ollama({ host, fetch: createOllamaFetch(kind === 'pull' ? wires.pulls : wires.calls, signal) });

  const allowedNames = new Set(options.allowed.map(canonicalName));
  const isAllowed = (model: string) => allowedNames.size === 0 || allowedNames.has(canonicalName(model));
  const { parallel = USUAL.parallel, maxLoaded = USUAL.maxLoaded, log } = options;
  const hosts = createHosts({ urls: options.hosts, client: clientOf, isAllowed, parallel, maxLoaded, log });

  const models = createModelCatalogue({
    hosts,
    pull: async (model, signal) => {
      const host = hosts.all.find((one) => one.isUp()) ?? (hosts.all[0] as Host);
      await pullModel([host], { model, signal });
    },
    defaults: { completion: options.defaultModel, embedding: options.embeddingModel },
    fallbacks: options.fallbacks ?? [],
    isAllowed,
    autoPull: options.autoPull,
  });

  /** Chooses the model and the host, and calls it. What is thrown is a TaskError, or the reason of the signal when that aborts. */
  async function call<T>(
    { signal: outer, by, mayUse, onHost }: ModelCall,
    { model: requested, fallback }: { model?: string; fallback?: boolean },
    operation: Operation,
    work: (client: Ollama, model: string, heard: () => void) => Promise<Answered<T>>,
  ): Promise<Answered<T & ModelChoice>> {
    const capability = operation === 'embeddings' ? 'embedding' : 'completion';
    const choice = await models.select(requested, capability, { signal: outer, fallback, mayUse }).catch((error) => {
      outer.throwIfAborted();
      throw error;
    });
    const { model } = choice;
    // Vectors of two models under one name must not be mixed.
    const digest = capability === 'embedding' ? models.digestOf(model) : undefined;
    const wanted = { model, requested: choice.model_reason === 'requested', digest, by, signal: outer };
    const { value } = await hosts.run(wanted, ({ host, heard }) => {
      const served = { host: host.label, digest: host.find(model)?.digest };
      onHost?.({ ...served, model });
      const done = measured({ operation, model, host: host.label, signal: outer }, () =>
        guarded(outer, host, model, (signal) => work(host.client(signal), model, heard)),
      );
      return done.then((answered) => ({ ...answered, served }));
    });
    return { ...value, answer: { ...value.answer, ...choice } };
  }

  async function guarded<T>(
    outer: AbortSignal,
    host: Host,
    model: string,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const abort = new AbortController();
    // Not by `AbortSignal.any`, which is dear where calls are short.
    const stop = () => abort.abort(outer.reason);
    outer.throwIfAborted();
    outer.addEventListener('abort', stop, { once: true });
    try {
      return await work(abort.signal);
    } catch (error) {
      // Whoever stops reading in the middle must not leave the model writing.
      abort.abort();
      outer.throwIfAborted();
      if (error instanceof UpstreamRefusal && error.status === 404) {
        await host.refresh(performance.now()).catch(() => {});
        const message = `The model host says: ${error.message}`;
        throw new TaskError('model_unavailable', message, { retryable: true, cause: error });
      }
      if (error instanceof UpstreamRefusal && isTooLong(error)) throw tooLong(model, error);
      throw upstreamError('Ollama', error);
    } finally {
      outer.removeEventListener('abort', stop);
    }
  }

  /** What a task for text would get that names this model, or none. */
  const nameOf = (model: string | undefined) => models.guess(model, 'completion') ?? model ?? '';

  return {
    models,
    breaker: { state: hosts.state },
    down: () => [...(hosts.state() === 'closed' ? [] : [null]), ...hosts.failing()],
    loading: hosts.loading,
    outlook: (model) => hosts.outlook(nameOf(model)),
    room: (model) => hosts.room(nameOf(model)),
    meet: (one, other) => hosts.meet(nameOf(one), nameOf(other)),
    onChange: hosts.onChange,
    chat: ({ model: requested, fallback, ...request }, context) =>
      call(context, { model: requested, fallback }, 'chat', async (client, model, heard) => {
        const count = counter(context.maxBytes);
        const stream = await client.chat({ ...request, ...STRICT, model, stream: true } as never);
        let content = '';
        let thinking = '';
        const toolCalls: unknown[] = [];
        let last: ChatResponse | undefined;
        for await (const piece of stream as unknown as AsyncIterable<ChatResponse>) {
          heard();
          last = piece;
          if (piece.message?.tool_calls) {
            count(jsonOf(piece.message.tool_calls));
            toolCalls.push(...piece.message.tool_calls);
          }
          if (piece.message?.thinking) {
            count(piece.message.thinking);
            thinking += piece.message.thinking;
          }
          if (piece.message?.content) {
            count(piece.message.content);
            content += piece.message.content;
            context.onText?.(piece.message.content);
          }
        }
        const message = {
          role: 'assistant' as const,
          content,
          ...(thinking === '' ? {} : { thinking }),
          ...(toolCalls.length > 0 ? { tool_calls: toolCalls } : {}),
        };
        return { answer: { message, done_reason: last?.done_reason ?? 'stop' }, usage: usageOf(last) };
      }),

    generate: ({ model: requested, fallback, ...request }, context) =>
      call(context, { model: requested, fallback }, 'text_completion', async (client, model, heard) => {
        const count = counter(context.maxBytes);
        const stream = await client.generate({ ...request, ...STRICT, model, stream: true } as never);
        let text = '';
        let thinking = '';
        let last: GenerateResponse | undefined;
        for await (const piece of stream as unknown as AsyncIterable<GenerateResponse>) {
          heard();
          last = piece;
          if (piece.thinking) {
            count(piece.thinking);
            thinking += piece.thinking;
          }
          if (piece.response) {
            count(piece.response);
            text += piece.response;
            context.onText?.(piece.response);
          }
        }
        const answer = { text, ...(thinking === '' ? {} : { thinking }), done_reason: last?.done_reason ?? 'stop' };
        return { answer, usage: usageOf(last) };
      }),

    embed: ({ input, ...choice }, context) =>
      call(context, choice, 'embeddings', async (client, model) => {
        const { embeddings, ...timed } = await client.embed({ model, input, ...STRICT });
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

    async pull({ model, hosts: labels }, { signal, onProgress, mayUse }) {
      if (!isAllowed(model) || mayUse?.(model) === false)
        throw new TaskError('forbidden', `The model ${model} may not be used here (OLLAMA_MODELS, MODELS_BY_ROLE).`);
      const chosen = hosts.all.filter(({ label }) => labels?.includes(label) ?? true);
      const unknown = labels?.find((label) => hosts.all.every((host) => host.label !== label));
      if (unknown !== undefined) throw new TaskError('invalid_input', `There is no host ${unknown} here any more.`);
      return { model: canonicalName(model), hosts: await pullModel(chosen, { model, signal, onProgress }) };
    },
    async remove(model) {
      await hosts.refresh(true);
      return removeModel(
        hosts.all.filter((host) => host.find(model)),
        model,
      );
    },
    hosts: hosts.all.map(({ label }) => label),
    hostStates: () =>
      hosts.all.map(({ label, slots, guard }) => ({
        ...{ host: label, calls: slots.busy(), breaker: guard.breaker.state() },
      })),
    health: (signal) =>
      Promise.all(
        hosts.all.map(async (host) => ({
          host: host.label,
          version: await host.ping(AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)])).catch(() => undefined),
        })),
      ),
    ping: hosts.ping,
    async close() {
      hosts.close();
      await wires.cut();
    },
  };
}

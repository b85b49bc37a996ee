import { availableParallelism } from 'node:os';
import type { Llama, LlamaContextSequence, LlamaEmbeddingContext, LlamaModel } from 'node-llama-cpp';
import type { Logger } from '../../log.ts';
import type { Model } from './catalog.ts';
import { httpError, messageOf } from './errors.ts';
import { canceled, createGate, type Gate, type Waiting } from './gate.ts';

/** Ollama's defaults. */
const CONTEXT_SIZE = 4096;
const MIN_CONTEXT_SIZE = 8;
const KEEP_ALIVE_MS = 5 * 60 * 1000;
const MAX_WAITING = 512;

/** One place to compute in: a context of its own, made again when a request wants another size. */
type Slot =
  | { size: number; kind: 'completion'; sequence: LlamaContextSequence; dispose: () => Promise<void> }
  | { size: number; kind: 'embedding'; embedder: LlamaEmbeddingContext; dispose: () => Promise<void> };

type Runner = {
  model: Model;
  gate: Gate;
  loaded: Promise<LlamaModel> | undefined;
  slots: Map<number, Slot>;
  users: number;
  contextSize: number;
  keepAliveMs: number;
  expiresAt: number;
  timer: NodeJS.Timeout | undefined;
};

/** A loaded model and a slot of it, held until `release`. */
export type Lease = { llama: Llama; model: LlamaModel; slot: Slot; loadMs: number; release: () => Promise<void> };

export type LeaseOptions = { contextSize?: number; keepAliveMs?: number; signal: AbortSignal };

/** A model in memory, as `/api/ps` lists it. `expiresAt` is in milliseconds, or Infinity. */
export type Running = { model: Model; contextSize: number; expiresAt: number };

export type Runtime = ReturnType<typeof createRuntime>;

/** Loads models with llama.cpp at their first use and unloads them when nobody has asked for them for a while. */
export function createRuntime(options: { log: Logger; parallel: number; threads?: number }) {
  const { log, parallel } = options;
  const cores = availableParallelism();
  // Two threads on two busy cores are four times slower than one: each waits for the other at every layer.
  const threads = options.threads ?? Math.max(1, Math.floor(cores / 2));
  const waiting: Waiting = { count: 0, limit: MAX_WAITING };
  const runners = new Map<string, Runner>();
  /** What must end before the engine may be disposed: leases that are held, and models being unloaded. */
  const pending = new Set<Promise<void>>();
  let engine: Promise<Llama> | undefined;
  let closed = false;

  function start(): Promise<Llama> {
    engine ??= (async () => {
      const { getLlama, LlamaLogLevel } = await import('node-llama-cpp');
      return getLlama({
        gpu: false,
        build: 'never',
        logLevel: LlamaLogLevel.error,
        logger: (_level, message) => log.warn({ llama: message.trim() }, 'llama.cpp reports an error'),
        progressLogs: false,
        maxThreads: cores,
      });
    })();
    engine.catch(() => {
      engine = undefined;
    });
    return engine;
  }

  function runnerOf(model: Model): Runner {
    const existing = runners.get(model.path);
    if (existing?.model.digest === model.digest) return existing;
    if (existing) void retire(existing);
    const runner: Runner = {
      model,
      gate: createGate(parallel, waiting),
      loaded: undefined,
      slots: new Map(),
      users: 0,
      contextSize: 0,
      keepAliveMs: KEEP_ALIVE_MS,
      expiresAt: Number.POSITIVE_INFINITY,
      timer: undefined,
    };
    runners.set(model.path, runner);
    return runner;
  }

  async function load(runner: Runner): Promise<LlamaModel> {
    const { model } = runner;
    const started = performance.now();
    const loaded = await (await start()).loadModel({ modelPath: model.path });
    log.info({ model: model.name, ms: Math.round(performance.now() - started) }, 'the model is loaded');
    return loaded;
  }

  async function slotOf(runner: Runner, model: LlamaModel, index: number, size: number): Promise<Slot> {
    const existing = runner.slots.get(index);
    if (existing?.size === size) return existing;
    await existing?.dispose();
    runner.slots.delete(index);
    const slot = await (runner.model.card.capability === 'embedding'
      ? embeddingSlot(model, size, threads)
      : completionSlot(model, size, threads));
    runner.slots.set(index, slot);
    runner.contextSize = size;
    return slot;
  }

  /** Takes a runner out of use: what still runs ends, then the memory is freed. Resolves when it is, if nobody uses it. */
  function retire(runner: Runner): Promise<void> {
    clearTimeout(runner.timer);
    runner.keepAliveMs = 0;
    if (runners.get(runner.model.path) === runner) runners.delete(runner.model.path);
    return runner.users === 0 ? dispose(runner) : Promise.resolve();
  }

  async function dispose(runner: Runner): Promise<void> {
    const loaded = runner.loaded;
    runner.loaded = undefined;
    const work = (async () => {
      for (const slot of runner.slots.values()) await slot.dispose();
      const model = await loaded?.catch(() => undefined);
      await model?.dispose();
      if (model) log.info({ model: runner.model.name }, 'the model is unloaded');
    })();
    await track(work.catch((error) => log.error({ error: messageOf(error) }, 'a model could not be unloaded')));
  }

  function track(work: Promise<void>): Promise<void> {
    const tracked = work.finally(() => pending.delete(tracked));
    pending.add(tracked);
    return tracked;
  }

  async function leave(runner: Runner): Promise<void> {
    runner.users--;
    if (runner.users > 0) return;
    if (runner.keepAliveMs === 0 || !runner.loaded) return retire(runner);
    runner.expiresAt = Date.now() + runner.keepAliveMs;
    if (runner.keepAliveMs === Number.POSITIVE_INFINITY) return;
    // A timer of Node holds 31 bits of milliseconds: 24 days, after which nobody minds a reload.
    runner.timer = setTimeout(() => void retire(runner), Math.min(runner.keepAliveMs, 2 ** 31 - 1)).unref();
  }

  return {
    /**
     * Waits for a free slot of the model and loads the model when it is not in memory.
     * @throws 503 when too many wait, 499 when the signal aborts, 500 when llama.cpp cannot load it
     */
    async lease(model: Model, { contextSize, keepAliveMs, signal }: LeaseOptions): Promise<Lease> {
      if (closed) throw canceled();
      const runner = runnerOf(model);
      clearTimeout(runner.timer);
      runner.users++;
      const held = Promise.withResolvers<void>();
      track(held.promise);
      if (keepAliveMs !== undefined) runner.keepAliveMs = keepAliveMs;
      runner.expiresAt = Date.now() + runner.keepAliveMs;
      let index: number | undefined;
      try {
        const slotNumber = await runner.gate.enter(signal);
        index = slotNumber;
        const started = performance.now();
        runner.loaded ??= load(runner);
        const loaded = await runner.loaded.catch((error) => {
          runner.loaded = undefined;
          throw httpError(500, `unable to load model '${model.name}': ${messageOf(error)}`);
        });
        const size = contextSizeFor(model, contextSize);
        const slot = await slotOf(runner, loaded, slotNumber, size);
        if (signal.aborted) throw canceled();
        const release = once(async () => {
          runner.gate.leave(slotNumber);
          await leave(runner).finally(held.resolve);
        });
        return { llama: loaded.llama, model: loaded, slot, loadMs: performance.now() - started, release };
      } catch (error) {
        if (index !== undefined) runner.gate.leave(index);
        await leave(runner).finally(held.resolve);
        throw error;
      }
    },
    /** Unloads a model as soon as nobody uses it; resolves when it is out of memory or in use. */
    async unload(model: Model): Promise<void> {
      const runner = runners.get(model.path);
      if (runner) await retire(runner);
    },
    running(): Running[] {
      const loaded = [...runners.values()].filter((runner) => runner.loaded);
      return loaded.map(({ model, contextSize, expiresAt }) => ({ model, contextSize, expiresAt }));
    },
    /** Unloads everything. Whoever still computes must have been aborted before. */
    async close(): Promise<void> {
      closed = true;
      await Promise.all([...runners.values()].map(retire));
      while (pending.size > 0) await Promise.all(pending);
      if (engine) await (await engine).dispose();
    },
  };
}

/** Tokens of a context: what was asked for, never more than the model was trained on. */
function contextSizeFor(model: Model, wanted: number | undefined): number {
  const size = wanted && wanted > 0 ? Math.floor(wanted) : CONTEXT_SIZE;
  return Math.max(MIN_CONTEXT_SIZE, Math.min(size, model.card.contextLength));
}

function once(work: () => Promise<void>): () => Promise<void> {
  let result: Promise<void> | undefined;
  return () => {
    result ??= work();
    return result;
  };
}

async function completionSlot(model: LlamaModel, size: number, threads: number): Promise<Slot> {
  // The last cell of a context stays free for the token to come, hence one more than the request may use.
  const context = await model.createContext({ contextSize: size + 1, threads });
  return { size, kind: 'completion', sequence: context.getSequence(), dispose: () => context.dispose() };
}

async function embeddingSlot(model: LlamaModel, size: number, threads: number): Promise<Slot> {
  // An encoder sees all of a text at once, so one batch must hold it; the library keeps one cell for itself.
  const embedder = await model.createEmbeddingContext({ contextSize: size + 1, batchSize: size + 1, threads });
  return { size, kind: 'embedding', embedder, dispose: () => embedder.dispose() };
}

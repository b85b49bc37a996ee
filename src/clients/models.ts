import type { Ollama } from 'ollama/browser';
import { TaskError } from '../errors.ts';
import type { ModelChoice } from '../tasks/tools.ts';
import { UpstreamRefusal, upstreamError } from './upstream.ts';

/** A model that a host really has. */
export interface ModelInfo {
  name: string;
  digest: string;
  size: number;
  family: string;
  /** `completion`, `embedding`, `tools`, `vision` …, as Ollama reports them. */
  capabilities: string[];
}

export type Capability = 'completion' | 'embedding';

export interface ModelCatalogue {
  /** The models the host has, asked anew at most every few seconds. */
  list(fresh?: boolean): Promise<ModelInfo[]>;
  /**
   * The requested model if it is there, else the default, else the first that fits.
   * @throws TaskError `model_unavailable`, retryable, when no model fits
   */
  select(
    requested: string | undefined,
    capability: Capability,
    call?: { signal?: AbortSignal; pull?: boolean },
  ): Promise<ModelChoice>;
}

interface Options {
  /** A client of one call; `pull` is one that bears long silences. */
  client: (signal?: AbortSignal, kind?: 'pull') => Ollama;
  defaults: Record<Capability, string | undefined>;
  /** Only these may be used; empty means all. */
  allowed: readonly string[];
  autoPull: boolean;
}

const CACHE_MS = 5_000;
/** Questions that a host answers without a model. */
const QUESTION_MS = 10_000;

/** `tinyllama` and `tinyllama:latest` are the same model. */
export function canonicalName(name: string): string {
  return /:[^/]*$/.test(name) ? name : `${name}:latest`;
}

/** Watches which models there are and chooses among them. */
export function createModelCatalogue({ client, defaults, allowed, autoPull }: Options): ModelCatalogue {
  const allowedNames = new Set(allowed.map(canonicalName));
  const capabilities = new Map<string, string[]>();
  let cached: { at: number; models: Promise<ModelInfo[]> } | undefined;

  async function load(): Promise<ModelInfo[]> {
    try {
      const { models } = await client(AbortSignal.timeout(QUESTION_MS)).list();
      const usable = models.filter(({ name }) => allowedNames.size === 0 || allowedNames.has(canonicalName(name)));
      const infos = await Promise.all(
        usable.map(async ({ name, digest, size, details }) => {
          const capabilities = await capabilitiesOf(name, digest);
          return capabilities && { name, digest, size, family: details?.family ?? 'unknown', capabilities };
        }),
      );
      return infos.filter((info) => info !== undefined);
    } catch (error) {
      const known = upstreamError('Ollama', error);
      if (known.outage !== 'away') throw known;
      // Nothing was begun by asking, so the attempt need not count.
      throw new TaskError(known.code, known.message, { later: true, outage: 'away', cause: error });
    }
  }

  /** `undefined` where the model was deleted since it was listed. */
  async function capabilitiesOf(name: string, digest: string): Promise<string[] | undefined> {
    const key = `${name}@${digest}`;
    let known = capabilities.get(key);
    if (!known) {
      const shown = await client(AbortSignal.timeout(QUESTION_MS))
        .show({ model: name })
        .catch((error) => {
          if (!(error instanceof UpstreamRefusal && error.status === 404)) throw error;
        });
      if (!shown) return undefined;
      // Hosts older than 0.6 do not say; they ran completions.
      known = shown.capabilities ?? ['completion'];
      capabilities.set(key, known);
    }
    return known;
  }

  function list(fresh = false): Promise<ModelInfo[]> {
    if (fresh || !cached || Date.now() - cached.at > CACHE_MS) {
      const models = load();
      cached = { at: Date.now(), models };
      models.catch(() => {
        if (cached?.models === models) cached = undefined;
      });
    }
    return cached.models;
  }

  async function pull(name: string, signal?: AbortSignal): Promise<void> {
    try {
      const steps = await client(signal, 'pull').pull({ model: name, stream: true });
      for await (const _ of steps) signal?.throwIfAborted();
    } catch (error) {
      signal?.throwIfAborted();
      const known = upstreamError('Ollama', error);
      if (known.outage === 'away') throw known;
      const message = `The model ${name} is not there and could not be pulled. ${known.message}`;
      throw new TaskError('model_unavailable', message, { retryable: true, cause: error });
    }
    await list(true);
  }

  return {
    list,
    async select(requested, capability, { signal, pull: mayPull = autoPull } = {}) {
      const fits = (models: ModelInfo[]) => models.filter((model) => model.capabilities.includes(capability));
      const find = (models: ModelInfo[], name: string) =>
        models.find((model) => canonicalName(model.name) === canonicalName(name));
      const wanted = requested ?? defaults[capability];
      let models = await list();
      const found = wanted ? find(models, wanted) : undefined;
      if (found && requested) return chosen(found, 'requested', capability);
      if (found) return { model: found.name, model_reason: 'default' };

      if (wanted && mayPull && (allowedNames.size === 0 || allowedNames.has(canonicalName(wanted)))) {
        await pull(wanted, signal);
        return { model: canonicalName(wanted), model_reason: 'pulled' };
      }
      models = fits(models);
      const fallback = defaults[capability] ? find(models, defaults[capability]) : undefined;
      if (fallback) return { model: fallback.name, model_reason: 'default' };
      if (models[0]) return { model: models[0].name, model_reason: 'first_available' };
      throw new TaskError(
        'model_unavailable',
        `No model for ${capability} is there. Pull one, such as \`ollama pull tinyllama\`, or set OLLAMA_AUTO_PULL=true.`,
        { retryable: true, retryAfterMs: 5_000 },
      );
    },
  };
}

function chosen(model: ModelInfo, reason: ModelChoice['model_reason'], capability: Capability): ModelChoice {
  if (!model.capabilities.includes(capability)) {
    throw new TaskError(
      'model_error',
      `The model ${model.name} cannot do ${capability}; it can do ${model.capabilities.join(', ') || 'nothing'}.`,
    );
  }
  return { model: model.name, model_reason: reason };
}

import { TaskError } from '../errors.ts';
import type { ModelChoice } from '../tasks/tools.ts';
import type { HostModel, Hosts } from './hosts/index.ts';
import { canonicalName } from './model-names.ts';
import { upstreamError } from './upstream.ts';

export { canonicalName } from './model-names.ts';

/** A model that hosts really have. Where they have different ones under one name, it is the one that most have. */
export interface ModelInfo extends HostModel {
  hosts: ModelAt[];
}

/** A model on one host. */
export interface ModelAt {
  /** A label, not an address. */
  host: string;
  digest: string;
  /** Whether it is in memory. */
  loaded: boolean;
  /** Whether the host answered when it was last asked. */
  up: boolean;
}

export type Capability = 'completion' | 'embedding';

/** How a model is chosen. */
export interface Selecting {
  signal?: AbortSignal;
  /** Whether one that is not there may be pulled; as the setting says when not given. */
  pull?: boolean;
  /** Whether another model may stand in for one that is not there; it may when not given. */
  fallback?: boolean;
  /** Which models may be used; all when not given. */
  mayUse?: (model: string) => boolean;
}

export interface ModelCatalogue {
  /** The models that the hosts have, asked anew at most every few seconds. @throws TaskError where no host answers */
  list(fresh?: boolean): Promise<ModelInfo[]>;
  /**
   * The requested model if it is there, else the first of the fallback list that is, else the default, else the first that fits.
   * @throws TaskError `model_unavailable`, retryable, when no model fits; `forbidden` for one that may not be used
   */
  select(requested: string | undefined, capability: Capability, how?: Selecting): Promise<ModelChoice>;
  /** The model that a task would get as things were when the hosts were last asked; `undefined` where none fits. */
  guess(requested: string | undefined, capability: Capability): string | undefined;
  /** Whether a task that wants this model, or the default one, would have it pulled as things were then. */
  wouldPull(requested: string | undefined, capability: Capability): boolean;
  /** The digest of a model, as the hosts were when they were last asked. */
  digestOf(model: string): string | undefined;
}

interface Options {
  hosts: Hosts;
  /** Pulls a model, to wherever it is missing. */
  pull: (model: string, signal: AbortSignal | undefined) => Promise<void>;
  defaults: Record<Capability, string | undefined>;
  /** Tried in this order in the place of a model that is not there. */
  fallbacks: readonly string[];
  isAllowed: (model: string) => boolean;
  autoPull: boolean;
}

/** Says which models there are, and chooses among them. */
export function createModelCatalogue(options: Options): ModelCatalogue {
  const { hosts, defaults, fallbacks, isAllowed, autoPull } = options;

  async function list(fresh = false): Promise<ModelInfo[]> {
    await hosts.refresh(fresh);
    return known(hosts);
  }

  async function pull(name: string, signal?: AbortSignal): Promise<void> {
    try {
      await options.pull(name, signal);
    } catch (error) {
      signal?.throwIfAborted();
      const told = upstreamError('Ollama', error);
      if (told.outage === 'away') throw told;
      const message = `The model ${name} is not there and could not be pulled. ${told.message}`;
      throw new TaskError('model_unavailable', message, { retryable: true, cause: error });
    }
    await list(true);
  }

  /** What there is in the place of a model that is not there, or that nobody named. */
  function standIn(models: ModelInfo[], wanted: string | undefined, capability: Capability): ModelChoice | undefined {
    const fits = models.filter((model) => model.capabilities.includes(capability));
    const missing = wanted === undefined ? {} : { model_missing: wanted };
    for (const name of wanted === undefined ? [] : fallbacks) {
      const found = find(fits, name);
      if (found) return { model: found.name, model_reason: 'fallback', ...missing };
    }
    const usual = defaults[capability] === undefined ? undefined : find(models, defaults[capability]);
    if (usual) return { model: usual.name, model_reason: 'default', ...missing };
    return fits[0] && { model: fits[0].name, model_reason: 'first_available', ...missing };
  }

  return {
    list,
    digestOf: (model) => find(known(hosts), model)?.digest,
    guess(requested, capability) {
      const models = known(hosts);
      const wanted = requested ?? defaults[capability];
      const found = wanted === undefined ? undefined : find(models, wanted);
      return found?.name ?? standIn(models, wanted, capability)?.model;
    },
    wouldPull(requested, capability) {
      const wanted = requested ?? defaults[capability];
      return wanted !== undefined && autoPull && isAllowed(wanted) && !find(known(hosts), wanted);
    },
    async select(requested, capability, { signal, pull: mayPull = autoPull, fallback = true, mayUse } = {}) {
      if (requested !== undefined && mayUse && !mayUse(requested)) throw notYours(requested);
      const there = await list();
      const models = there.filter(({ name }) => mayUse?.(name) ?? true);
      const wanted = requested ?? defaults[capability];
      const found = wanted === undefined ? undefined : find(models, wanted);
      if (found && requested !== undefined) return chosen(found, capability);
      if (found) return { model: found.name, model_reason: 'default' };

      if (wanted && mayPull && isAllowed(wanted) && (mayUse?.(wanted) ?? true)) {
        await pull(wanted, signal);
        return { model: canonicalName(wanted), model_reason: 'pulled' };
      }
      const instead = fallback || requested === undefined ? standIn(models, wanted, capability) : undefined;
      if (instead) return instead;
      // One that never answered may have it.
      const unknown = hosts.all.find((host) => host.models() === undefined);
      if (unknown) await unknown.refresh(Number.NEGATIVE_INFINITY);
      const hidden = there.some(({ name, capabilities }) => !mayUse?.(name) && capabilities.includes(capability));
      if (mayUse && hidden && requested === undefined) throw noneYours(capability);
      throw new TaskError('model_unavailable', missingText(requested, fallback, capability), {
        retryable: true,
        retryAfterMs: 5_000,
      });
    },
  };
}

/** What the hosts had when they were last asked, in the order of the hosts. */
function known(hosts: Hosts): ModelInfo[] {
  const byName = new Map<string, Array<{ model: HostModel; at: ModelAt }>>();
  for (const host of hosts.all)
    for (const model of host.models() ?? []) {
      const at = { host: host.label, digest: model.digest, loaded: host.isLoaded(model.name), up: host.isUp() };
      const name = canonicalName(model.name);
      byName.set(name, [...(byName.get(name) ?? []), { model, at }]);
    }
  return [...byName.values()].map((all) => ({ ...mostCommon(all), hosts: all.map(({ at }) => at) }));
}

/** Of as many, the one of the first host. */
function mostCommon(all: Array<{ model: HostModel }>): HostModel {
  const models = all.map(({ model }) => model);
  const times = (digest: string) => models.filter((one) => one.digest === digest).length;
  return models.reduce((most, one) => (times(one.digest) > times(most.digest) ? one : most));
}

function find(models: ModelInfo[], name: string): ModelInfo | undefined {
  return models.find((model) => canonicalName(model.name) === canonicalName(name));
}

function missingText(requested: string | undefined, fallback: boolean, capability: Capability): string {
  if (requested !== undefined && !fallback)
    return `No host has the model ${requested}, and the task takes no other. \`sutazai models pull ${requested}\` brings it.`;
  return `No model for ${capability} is there. Pull one, such as \`ollama pull tinyllama\`, or set OLLAMA_AUTO_PULL=true.`;
}

function notYours(model: string): TaskError {
  return new TaskError(
    'forbidden',
    `The role of whoever submitted this may not use the model ${model} (MODELS_BY_ROLE).`,
  );
}

function noneYours(capability: Capability): TaskError {
  return new TaskError(
    'forbidden',
    `The role of whoever submitted this may use none of the models for ${capability} that are there (MODELS_BY_ROLE).`,
  );
}

function chosen(model: ModelInfo, capability: Capability): ModelChoice {
  if (!model.capabilities.includes(capability)) {
    throw new TaskError(
      'model_error',
      `The model ${model.name} cannot do ${capability}; it can do ${model.capabilities.join(', ') || 'nothing'}.`,
    );
  }
  return { model: model.name, model_reason: 'requested' };
}

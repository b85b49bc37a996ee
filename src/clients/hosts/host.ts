import type { Ollama } from 'ollama/browser';
import { TaskError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { metrics } from '../../telemetry/metrics.ts';
import { modelLabel } from '../measure.ts';
import { canonicalName } from '../model-names.ts';
import { UpstreamRefusal, upstreamError } from '../upstream.ts';
import { createModelWaits, type ModelWaits } from '../waits.ts';
import { createGuard, type Guard } from './guard.ts';
import { createSlots, type SlotBounds, type Slots } from './slots.ts';

/** A model as a host describes it. */
export interface HostModel {
  name: string;
  digest: string;
  size: number;
  family: string;
  /** `completion`, `embedding`, `tools`, `vision` …, as Ollama reports them. */
  capabilities: string[];
  /** How many tokens it was trained to see at a time. */
  context_length: number | null;
}

/** A client of one call; `pull` is one that bears long silences. */
export type MakeClient = (signal?: AbortSignal, kind?: 'pull') => Ollama;

/** One model host, as it was when it was last asked. */
export interface Host {
  /** What users call it; says nothing of where it is. */
  readonly label: string;
  readonly client: MakeClient;
  readonly guard: Guard;
  readonly slots: Slots;
  readonly waits: ModelWaits;
  /** `undefined` until it has answered once. */
  models(): HostModel[] | undefined;
  find(model: string): HostModel | undefined;
  version(): string | undefined;
  /** Whether it answered when it was last asked. */
  isUp(): boolean;
  /** Whether a call of the model would find it in memory, or on its way there. */
  isLoaded(model: string): boolean;
  /** A model answered, so it is in memory. */
  noteLoaded(model: string): void;
  /** Asks it again, where what is known was asked for earlier than this time of `performance`. @throws TaskError where it does not answer */
  refresh(notBefore: number): Promise<void>;
  /** The version that it reports. @throws when it cannot be reached */
  ping(signal: AbortSignal): Promise<string>;
}

interface Options extends SlotBounds {
  label: string;
  /** What logs and errors call it. */
  name: string;
  client: MakeClient;
  isAllowed: (model: string) => boolean;
  /** What models of a digest can do, shared by all hosts. */
  abilities: Abilities;
  onChange: () => void;
  log: Logger;
}

export type Abilities = Map<string, Pick<HostModel, 'capabilities' | 'context_length'>>;

/** Questions that a host answers without a model. */
const QUESTION_MS = 10_000;
const PROBE_MS = 5_000;
const LOADED_MS = 2_000;
const VERSION_MS = 60_000;

/** Makes it; nobody is asked yet. */
export function createHost({ label, name, client, isAllowed, abilities, onChange, log, ...bounds }: Options): Host {
  let known: { models: HostModel[]; since: number } | undefined;
  let version: { text: string; at: number } | undefined;
  let loaded = new Set<string>();
  let up = true;
  let asking: { since: number; done: Promise<void> } | undefined;

  const slots = createSlots(bounds);
  const loadedNames = async () =>
    (await client(AbortSignal.timeout(LOADED_MS)).ps()).models.map(({ name: model }) => model);
  const waits = createModelWaits(loadedNames);

  async function ping(signal: AbortSignal): Promise<string> {
    const { version: text } = await client(signal).version();
    version = { text, at: performance.now() };
    guard.breaker.answered();
    return text;
  }

  const guard = createGuard({ name, probe: () => ping(AbortSignal.timeout(PROBE_MS)), log });

  async function describe(model: string, digest: string) {
    const key = `${model}@${digest}`;
    let found = abilities.get(key);
    if (!found) {
      const shown = await client(AbortSignal.timeout(QUESTION_MS))
        .show({ model })
        .catch((error) => {
          // Deleted since it was listed, or broken; the others are not the worse for it.
          if (!(error instanceof UpstreamRefusal) || upstreamError(name, error).outage === 'away') throw error;
        });
      if (!shown) return undefined;
      const length = Object.entries(shown.model_info ?? {}).find(([field]) => field.endsWith('.context_length'))?.[1];
      // Hosts older than 0.6 do not say what a model can do; they ran completions.
      found = {
        capabilities: shown.capabilities ?? ['completion'],
        context_length: typeof length === 'number' ? length : null,
      };
      abilities.set(key, found);
    }
    return found;
  }

  async function load(since: number): Promise<void> {
    try {
      const [{ models }] = await Promise.all([client(AbortSignal.timeout(QUESTION_MS)).list(), askLoaded()]);
      const usable = models.filter((model) => isAllowed(model.name));
      const described = await Promise.all(
        usable.map(async ({ name: model, digest, size, details }) => {
          const abilitiesOf = await describe(model, digest);
          return abilitiesOf && { name: model, digest, size, family: details?.family ?? 'unknown', ...abilitiesOf };
        }),
      );
      known = { models: described.filter((one) => one !== undefined), since };
    } catch (error) {
      const told = upstreamError('Ollama', error);
      if (told.outage !== 'away') throw told;
      // Nothing was begun by asking, so the attempt need not count.
      throw new TaskError(told.code, told.message, { later: true, outage: 'away', cause: error });
    }
    if (!version || performance.now() - version.at > VERSION_MS)
      await ping(AbortSignal.timeout(PROBE_MS)).catch(() => {});
  }

  /** A host that does not say what it has loaded leaves it unknown. */
  async function askLoaded(): Promise<void> {
    const names = await loadedNames().catch(() => undefined);
    if (names) loaded = new Set(names.map(canonicalName));
  }

  async function ask(since: number): Promise<void> {
    try {
      await guard.breaker.run(() => load(since));
      up = true;
    } catch (error) {
      up = false;
      throw error;
    } finally {
      asking = undefined;
      onChange();
    }
  }

  return {
    ...{ label, client, guard, slots, waits, ping },
    models: () => known?.models,
    find: (model) => known?.models.find((one) => canonicalName(one.name) === canonicalName(model)),
    version: () => version?.text,
    isUp: () => up && guard.breaker.state() === 'closed',
    isLoaded: (model) => loaded.has(canonicalName(model)) || slots.busy(model) > 0,
    noteLoaded(model) {
      if (loaded.has(canonicalName(model))) return;
      loaded.add(canonicalName(model));
      metrics.modelLoads.inc({ model: modelLabel(canonicalName(model)), host: label });
      // What had to make room for it, nobody tells.
      void askLoaded().then(onChange);
    },
    async refresh(notBefore) {
      if (known && up && known.since >= notBefore) return;
      if (asking && asking.since < notBefore) await asking.done.catch(() => {});
      if (!asking) {
        const since = performance.now();
        asking = { since, done: ask(since) };
      }
      return asking.done;
    },
  };
}

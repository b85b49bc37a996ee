import { TaskError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { BreakerState } from '../breaker.ts';
import { canonicalName } from '../model-names.ts';
import type { ModelWaits } from '../waits.ts';
import { hostsWith, type Outlook } from './choose.ts';
import { endingOf, mayMoveOn } from './endings.ts';
import type { Callers } from './guard.ts';
import { type Abilities, createHost, type Host, type MakeClient } from './host.ts';
import { createLine } from './line.ts';
import type { SlotBounds } from './slots.ts';

export type { Outlook } from './choose.ts';
export type { Host, HostModel, MakeClient } from './host.ts';
export { type Pulled, type PullProgress, pullModel } from './pull.ts';
export { type Removal, removeModel } from './remove.ts';
export type { SlotBounds } from './slots.ts';

/** What a call at a host is given. */
export interface At {
  host: Host;
  /** To be called with the first word: from then on the call stays with this host. */
  heard: () => void;
}

/** The model hosts, as one. */
export interface Hosts {
  all: readonly Host[];
  /**
   * Asks each host again what it has, where that is older than a few seconds, or in any case.
   * @throws TaskError where none answers
   */
  refresh(fresh?: boolean): Promise<void>;
  /**
   * Calls a model at the host that suits best, waiting for room where none has any; at another one where the first fails
   * before anything was heard from it.
   * @throws TaskError, or the reason of the signal when that aborts
   */
  run<T>(
    call: { model: string; requested: boolean; digest?: string; by?: Callers; signal: AbortSignal },
    work: (at: At) => Promise<T>,
  ): Promise<{ value: T; host: Host }>;
  outlook(model: string): Outlook;
  /** How many more calls of it could begin now where it is in memory. */
  room(model: string): number;
  /** Whether there is a host that has both, or nobody knows of one that has the one or the other. */
  meet(one: string, other: string): boolean;
  /** Whether any host takes calls. */
  state(): BreakerState;
  /** The models that keep failing wherever they are. */
  failing(): string[];
  /** Models that calls wait for while hosts load them. */
  loading(): ReturnType<ModelWaits['loading']>;
  /** The version that the first host reports that answers. @throws when none can be reached */
  ping(signal: AbortSignal): Promise<string>;
  /** Hears whenever an outlook may be another. Answers what ends that. */
  onChange(listener: () => void): () => void;
  close(): void;
}

interface Options extends SlotBounds {
  urls: readonly string[];
  client: (url: string) => MakeClient;
  isAllowed: (model: string) => boolean;
  log: Logger;
}

/** What is known of a host is believed for so long. */
const MAX_AGE_MS = 5_000;
/** Hosts that are in use are asked so often; those that nobody wanted anything of for a while are not. */
const WATCH_EVERY_MS = 3_000;
const IN_USE_MS = 30_000;
/** Where one host answers, a silent one is not waited for any longer. */
const PATIENCE_MS = 1_000;

/** Makes them. Nobody is asked before first use. */
export function createHosts({ urls, client, ...shared }: Options): Hosts {
  const abilities: Abilities = new Map();
  const listeners = new Set<() => void>();
  const all = urls.map((url, index) => {
    const label = `host-${index + 1}`;
    const name = urls.length === 1 ? 'Ollama' : `Ollama (${label})`;
    return createHost({ ...shared, label, name, client: client(url), abilities, onChange: changed });
  });
  let usedAt = Number.NEGATIVE_INFINITY;
  let watching: NodeJS.Timeout | undefined;
  let closed = false;

  function changed(): void {
    for (const listener of [...listeners]) listener();
  }

  function use(): void {
    usedAt = performance.now();
    if (closed) return;
    watching ??= setInterval(watch, WATCH_EVERY_MS).unref();
  }

  function watch(): void {
    if (performance.now() - usedAt > IN_USE_MS && all.every(({ slots }) => slots.busy() === 0)) {
      clearInterval(watching);
      watching = undefined;
      return;
    }
    for (const host of all) host.refresh(performance.now()).catch(() => {});
  }

  async function refresh(fresh = false): Promise<void> {
    use();
    const notBefore = performance.now() - (fresh ? 0 : MAX_AGE_MS);
    const wereUp = all.map((host) => host.isUp());
    const asked = all.map((host) => host.refresh(notBefore));
    // One that was silent the last time is asked too, but waited for only where nobody else answers.
    const awaited = fresh ? asked : asked.filter((_, index) => wereUp[index]);
    let timer: NodeJS.Timeout | undefined;
    const patience = Promise.any(asked).then(() => new Promise((end) => (timer = setTimeout(end, PATIENCE_MS))));
    const every = Promise.allSettled(awaited);
    try {
      await Promise.race([every.then(() => Promise.any(asked)), patience]);
    } catch (error) {
      throw firstOf(error);
    } finally {
      clearTimeout(timer);
    }
  }

  const onChange = (listener: () => void) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };
  const line = createLine({ hosts: all, use, onChange, changed });

  return {
    all,
    refresh,
    async run({ model: name, requested, digest, by, signal }, work) {
      const model = canonicalName(name);
      const tried = new Set<Host>();
      let failed: unknown;
      for (let broken = 0; ; ) {
        const [host, end] = await line.place({ model, digest, by, tried }, signal, failed);
        const wait = host.waits.begin(model, requested);
        let silent = true;
        const heard = () => {
          silent = false;
          wait();
          host.noteLoaded(model);
        };
        try {
          const value = await host.guard.run(model, by, () => work({ host, heard }));
          heard();
          end('answered');
          return { value, host };
        } catch (error) {
          end(endingOf(error));
          // What breaks off may be the work of the call itself, so that is tried at one other host, not at all of them.
          if (
            !silent ||
            !(error instanceof TaskError) ||
            !mayMoveOn(error) ||
            (error.outage && !error.later && broken++)
          )
            throw error;
          tried.add(host);
          failed = error;
        } finally {
          wait();
          use();
          changed();
        }
      }
    },
    outlook(model) {
      use();
      const found = line.look({ model: canonicalName(model), tried: new Set() });
      if (found === 'full') return 'full';
      return found?.isLoaded(model) ? 'loaded' : 'load';
    },
    room: (model) => line.room({ model: canonicalName(model), tried: new Set() }),
    meet(one, other) {
      const [ones, others] = [one, other].map((model) => hostsWith(all, { model, tried: new Set() }));
      return !ones?.length || !others?.length || ones.some((host) => others.includes(host));
    },
    state() {
      const states = all.map(({ guard }) => guard.breaker.state());
      return (['closed', 'half_open'] as const).find((state) => states.includes(state)) ?? 'open';
    },
    failing: () =>
      [...new Set(all.flatMap(({ guard }) => guard.failing()))].filter((model) =>
        all.every((host) => !host.find(model) || host.guard.failing().includes(model)),
      ),
    async loading() {
      const found = (await Promise.all(all.map(({ waits }) => waits.loading()))).flat();
      return [...new Map(found.map((one) => [`${one.model} ${one.requested}`, one])).values()];
    },
    ping: (signal) =>
      Promise.any(all.map((host) => host.ping(signal))).catch((error) => {
        throw firstOf(error);
      }),
    onChange,
    close() {
      closed = true;
      clearInterval(watching);
    },
  };
}

function firstOf(error: unknown): unknown {
  return error instanceof AggregateError ? error.errors[0] : error;
}

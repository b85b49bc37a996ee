import { TaskError } from '../errors.ts';
import type { Logger } from '../log.ts';

/** `closed` lets calls through, `open` answers them itself, `half_open` finds out whether the dependency is back. */
export type BreakerState = 'closed' | 'open' | 'half_open';

/** Keeps calls away from a dependency that does not work, so that neither it nor the tasks suffer from more of them. */
export interface Breaker {
  state(): BreakerState;
  /**
   * Runs a call.
   * @throws TaskError `upstream_unavailable`, later, without having called, while the dependency is left alone; its
   *   `retryAfterMs` says when it is asked again
   */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** What a call hears that is kept away now. */
  turnedAway(): TaskError;
}

interface Options {
  /** The dependency as users know it, without an address, such as `Ollama`. */
  name: string;
  log: Logger;
  /** A short, bounded question that only a working dependency answers; without one, the next call is the probe. */
  probe?: () => Promise<unknown>;
  /** Whether a failure is one of this dependency; those that say anything of an outage when not given. */
  trips?: (error: TaskError) => boolean;
  timing?: Partial<typeof TIMING>;
}

/**
 * It opens after this many failures without an answer in between, none longer after the one before than the window. How
 * long it then stays open doubles with each opening, with jitter, until a call succeeds.
 */
const TIMING = { failures: 5, windowMs: 60_000, minOpenMs: 1_000, maxOpenMs: 15_000 };
/** Callers are spread over so much of what an outage has lasted, because each of a large backlog that comes back costs something. */
const SPREAD = 0.1;
const MAX_SPREAD_MS = 300_000;

/** What a breaker answers in place of its dependency, which was not asked: of another one, further out, it says nothing. */
class TurnedAway extends TaskError {}

/** Makes a closed breaker. */
export function createBreaker({
  name,
  log,
  probe,
  trips = ({ outage }) => outage !== undefined,
  timing,
}: Options): Breaker {
  const { failures: limit, windowMs, minOpenMs, maxOpenMs } = { ...TIMING, ...timing };
  let failures = 0;
  let failedAt = 0;
  let openings = 0;
  let openMs = 0;
  /** When the next probe may go; `undefined` while closed. */
  let probeAt: number | undefined;
  let probing: Promise<unknown> | undefined;
  /** The first opening since a call succeeded. */
  let downSince: number | undefined;
  const now = () => performance.now();

  function state(): BreakerState {
    if (probeAt === undefined) return 'closed';
    return now() < probeAt ? 'open' : 'half_open';
  }

  function open(): void {
    if (probeAt === undefined) log.warn(`${name} keeps failing; what needs it waits`);
    const bound = Math.min(maxOpenMs, minOpenMs * 2 ** Math.min(openings, 30));
    openMs = bound / 2 + (bound / 2) * Math.random();
    openings += 1;
    failures = 0;
    downSince ??= now();
    probeAt = now() + openMs;
  }

  function close(): void {
    if (probeAt !== undefined) log.info(`${name} is back`);
    probeAt = undefined;
    failures = 0;
  }

  function succeeded(): void {
    openings = 0;
    downSince = undefined;
    close();
  }

  function failed(): void {
    const current = state();
    // A call that began before it opened says nothing new.
    if (current === 'open') return;
    failures = now() - failedAt > windowMs ? 1 : failures + 1;
    failedAt = now();
    if (current === 'half_open' || failures >= limit) open();
  }

  async function attempt<T>(work: () => Promise<T>): Promise<T> {
    try {
      const answer = await work();
      succeeded();
      return answer;
    } catch (error) {
      // Whatever else a TaskError says, somebody answered. Other errors, such as that of an abort, say nothing.
      if (error instanceof TaskError && !(error instanceof TurnedAway)) trips(error) ? failed() : succeeded();
      throw error;
    }
  }

  function turnedAway(): TurnedAway {
    const left = (probeAt ?? 0) - now();
    const spread = Math.min(MAX_SPREAD_MS, SPREAD * (now() - (downSince ?? now()))) * Math.random();
    return new TurnedAway('upstream_unavailable', `${name} keeps failing and is left alone for a moment.`, {
      later: true,
      retryAfterMs: Math.ceil((left > 0 ? left : openMs) + spread),
    });
  }

  /** That a probe succeeds does not yet show that calls do: only they take the count of openings back. */
  async function ask(question: () => Promise<unknown>): Promise<void> {
    await question().then(close, open);
    probing = undefined;
  }

  async function probeWith<T>(work: () => Promise<T>): Promise<T> {
    if (probing) throw turnedAway();
    const call = attempt(work);
    probing = call;
    try {
      return await call;
    } finally {
      probing = undefined;
    }
  }

  return {
    state,
    turnedAway,
    async run(work) {
      if (state() === 'half_open') {
        if (!probe) return probeWith(work);
        probing ??= ask(probe);
        await probing;
      }
      if (state() !== 'closed') throw turnedAway();
      return attempt(work);
    },
  };
}

/** Breakers by key, such as one for each origin that users' URLs lead to. */
export interface Breakers {
  of(key: string): Breaker;
  /** The keys of those that are not closed. */
  open(): string[];
}

/** Makes them as they are asked for; of more than `max`, those that are closed are forgotten first. */
export function createBreakers(make: (key: string) => Breaker, max = 1_000): Breakers {
  const known = new Map<string, Breaker>();
  return {
    of(key) {
      let breaker = known.get(key);
      if (!breaker) {
        const closed = known.size < max ? undefined : [...known].find(([, one]) => one.state() === 'closed');
        if (known.size >= max) known.delete(closed?.[0] ?? (known.keys().next().value as string));
        breaker = make(key);
        known.set(key, breaker);
      }
      return breaker;
    },
    open: () => [...known].flatMap(([key, breaker]) => (breaker.state() === 'closed' ? [] : [key])),
  };
}

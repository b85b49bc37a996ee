import { TaskError } from '../errors.ts';
import type { Logger } from '../log.ts';

/** `closed` lets calls through, `open` answers them itself, `half_open` finds out whether the dependency is back. */
export type BreakerState = 'closed' | 'open' | 'half_open';

/** Keeps calls away from a dependency that does not work, so that neither it nor the tasks suffer from more of them. */
export interface Breaker {
  state(): BreakerState;
  /**
   * Runs a call.
   * @param by whose call it is, where its failure may be of that user's own making: one user's failures alone do not keep the
   *   others away. `null` where it is of several, each of whom is asked alone next
   * @throws TaskError `upstream_unavailable`, later, without having called, while the dependency is left alone; its
   *   `retryAfterMs` says when it is asked again
   */
  run<T>(work: () => Promise<T>, by?: string | null): Promise<T>;
  /** What a call hears that is kept away now. */
  turnedAway(): TaskError;
  /** The question of the probe was just answered, asked by somebody else: where it would be asked next, calls may go. */
  answered(): void;
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
 * It opens after this many failures without an answer in between, none longer after the one before than the window; of
 * those that may be of one user's making, no more than half count. How long it then stays open doubles with each opening,
 * with jitter, until a call succeeds.
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
  /** By whose calls they were; those that are nobody's fault have no name. */
  const failures = new Map<string | undefined, number>();
  let failedAt = 0;
  let openings = 0;
  let openMs = 0;
  /** When the next probe may go; `undefined` while closed. */
  let probeAt: number | undefined;
  /** Whether it was told that the dependency is away. */
  let told = false;
  let probing: Promise<unknown> | undefined;
  /** The first opening since a call succeeded. */
  let downSince: number | undefined;
  const now = () => performance.now();

  function state(): BreakerState {
    if (probeAt === undefined) return 'closed';
    return now() < probeAt ? 'open' : 'half_open';
  }

  function open(): void {
    if (!told) log.warn(`${name} keeps failing; what needs it waits`);
    told = true;
    const bound = Math.min(maxOpenMs, minOpenMs * 2 ** Math.min(openings, 30));
    openMs = bound / 2 + (bound / 2) * Math.random();
    openings += 1;
    failures.clear();
    downSince ??= now();
    probeAt = now() + openMs;
  }

  function close(): void {
    if (told) log.info(`${name} is back`);
    told = false;
    probeAt = undefined;
    failures.clear();
  }

  function succeeded(): void {
    openings = 0;
    downSince = undefined;
    close();
  }

  function failed(by: string | null | undefined): void {
    const current = state();
    // A call that began before it opened says nothing new, and one of several not yet whose it is.
    if (current === 'open' || by === null) return;
    if (now() - failedAt > windowMs) failures.clear();
    failedAt = now();
    const own = (failures.get(by) ?? 0) + 1;
    failures.set(by, own);
    if (current === 'half_open') {
      // Others may find it well: where it fails for one of them, another one is asked.
      if (by === undefined || (!probe && failures.size > 1)) open();
      return;
    }
    const most = Math.ceil(limit / 2);
    const counted = [...failures].reduce((sum, [whose, times]) => sum + (whose ? Math.min(times, most) : times), 0);
    if (counted >= limit) open();
    // Nobody is kept away for it before the dependency was asked.
    else if (own >= limit && probe) probeAt = now();
  }

  async function attempt<T>(work: () => Promise<T>, by: string | null | undefined): Promise<T> {
    try {
      const answer = await work();
      succeeded();
      return answer;
    } catch (error) {
      // Whatever else a TaskError says, somebody answered. Other errors, such as that of an abort, say nothing.
      if (error instanceof TaskError && !(error instanceof TurnedAway))
        // That nobody took it is not the fault of who asked.
        trips(error) ? failed(error.later ? undefined : by) : succeeded();
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

  async function probeWith<T>(work: () => Promise<T>, by: string | null | undefined): Promise<T> {
    if (probing) throw turnedAway();
    const call = attempt(work, by);
    probing = call;
    try {
      return await call;
    } finally {
      probing = undefined;
    }
  }

  return {
    // One that is only asked whether it is there keeps nobody away.
    state: () => (told ? state() : 'closed'),
    turnedAway,
    answered() {
      if (probe && state() === 'half_open') close();
    },
    async run(work, by) {
      if (state() === 'half_open') {
        if (!probe) return probeWith(work, by);
        probing ??= ask(probe);
        await probing;
      }
      if (state() !== 'closed') throw turnedAway();
      return attempt(work, by);
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

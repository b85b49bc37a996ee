import { setTimeout } from 'node:timers/promises';
import { goOn, present } from '../telemetry/tracing.ts';

/**
 * Group commit: calls that arrive while a statement is under way go together in the next one. A lone caller waits for nobody,
 * unless it comes again within `apartMs`; where calls come so often that statements follow each other, they follow at a distance,
 * so that there is more in each.
 */
export interface BatchOptions<I, O> {
  /** Does the work of all items; answers one result an item, in order. */
  run: (items: I[]) => Promise<O[]>;
  /** The most items that go together. */
  max: number;
  /** How many batches may be under way at once (default 1). */
  parallel?: number;
  /**
   * A batch that is not full begins no sooner after the one before, and not while one is under way, unless that is held up
   * (by a lock, say, that is of no matter to the others) and `parallel` is more than one.
   */
  apartMs?: number;
  /** The most items that may wait for their turn, and for how long; what is beyond is rejected with {@link Overloaded}. */
  limit?: { items: number; ms: number };
  /** Whether an error may be the fault of one item; the others are then tried again, each alone. */
  isolate?: (error: unknown) => boolean;
}

/** What is under way for so long counts as held up. */
const HELD_UP_MS = 1_000;
/** After one that waited in vain, so many batches do not wait: whoever comes by itself, again and again, is not held back for others. */
const SPARED = 15;

/** The work does not keep up with its callers, or what does it is away. */
export class Overloaded extends Error {
  override readonly name = 'Overloaded';
}

interface Waiter<I, O> {
  item: I;
  since: number;
  trace: ReturnType<typeof present>;
  resolve: (result: O) => void;
  reject: (error: unknown) => void;
}

/** Makes a function that does the work of one item, together with others. When the batch fails, each of its callers gets the error. */
export function createBatch<I, O>({
  run,
  max,
  parallel = 1,
  apartMs = 0,
  limit,
  isolate = isDataError,
}: BatchOptions<I, O>): (item: I) => Promise<O> {
  let waiting: Array<Waiter<I, O>> = [];
  let underWay = 0;
  let running = 0;
  let begunAt = Number.NEGATIVE_INFINITY;
  let spared = 0;
  let armed: NodeJS.Timeout | undefined;

  async function alone({ item, trace, resolve, reject }: Waiter<I, O>): Promise<void> {
    await goOn(trace, () => run([item])).then(([result]) => resolve(result as O), reject);
  }

  /** Work that was asked for so long ago that its caller has given up must not be done behind its back. */
  function dropStale(): void {
    if (!limit) return;
    const stale = waiting.findIndex(({ since }) => since > Date.now() - limit.ms);
    for (const { reject } of waiting.splice(0, stale === -1 ? waiting.length : stale))
      reject(new Overloaded('it waited too long'));
  }

  /** Resolves when the next batch may begin. */
  async function apart(): Promise<void> {
    while (apartMs > 0 && waiting.length > 0 && waiting.length < max) {
      const heldUp = running > 0;
      if (!heldUp && spared > 0) return void spared--;
      const early = begunAt + (heldUp ? HELD_UP_MS : apartMs) - performance.now();
      if (early <= 0) return;
      const came = waiting.length;
      await setTimeout(early, undefined, { ref: !heldUp });
      if (!heldUp && waiting.length === came) spared = SPARED;
    }
  }

  async function flush(): Promise<void> {
    underWay++;
    // One turn of the event loop lets the requests that came in the same read of the socket join.
    await new Promise(setImmediate);
    while (waiting.length > 0) {
      await apart();
      // Meanwhile another may have taken them all, or they have waited too long.
      if (waiting.length === 0) break;
      begunAt = performance.now();
      const batch = waiting.slice(0, max);
      waiting = waiting.slice(max);
      running++;
      armed ??= limit && setInterval(dropStale, limit.ms / 4);
      try {
        // Of the trace of one of them; the others do not see it.
        const results = await goOn(batch[0]?.trace, () => run(batch.map(({ item }) => item)));
        batch.forEach(({ resolve }, index) => {
          resolve(results[index] as O);
        });
      } catch (error) {
        if (batch.length > 1 && isolate(error)) await Promise.all(batch.map(alone));
        else for (const { reject } of batch) reject(error);
      } finally {
        running--;
      }
    }
    underWay--;
    if (underWay === 0) {
      clearInterval(armed);
      armed = undefined;
    }
  }

  return (item) =>
    new Promise<O>((resolve, reject) => {
      if (limit && waiting.length >= limit.items) return reject(new Overloaded('too many wait already'));
      waiting.push({ item, since: Date.now(), trace: present(), resolve, reject });
      if (underWay < parallel) void flush();
    });
}

/** SQLSTATE classes 22 (data exception) and 23 (integrity violation): one row can spoil a statement for all. */
function isDataError(error: unknown): boolean {
  return /^2[23]/.test(String((error as { code?: unknown } | null)?.code ?? ''));
}

import { createServer } from 'node:net';

/** Waits so many milliseconds. Only for how long a fault lasts: what is expected is waited for with {@link until}. */
export function lasting(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Asks again and again until the answer is good; gives up loudly after `withinMs`. Answers how long it took beside the answer. */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | null | false> | T | undefined | null | false,
  withinMs = 30_000,
  everyMs = 50,
): Promise<{ value: T; tookMs: number }> {
  const started = Date.now();
  for (;;) {
    const value = await probe();
    if (value) return { value, tookMs: Date.now() - started };
    if (Date.now() - started > withinMs) throw new Error(`${what}: not within ${withinMs} ms`);
    await lasting(everyMs);
  }
}

/** Fails the case where something is not as it must be. */
export function must(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

/** A port that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** The value below which so much (0–1) of the sorted values lie; 0 where there is none. */
export function quantile(values: number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)] ?? sorted[0] ?? 0;
}

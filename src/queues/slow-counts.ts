/** What takes less than this is asked every time. */
const SLOW_MS = 100;
const TIMES = 20;

/**
 * Counting in Postgres takes the longer the more jobs there are. An answer that took long is remembered for twenty times
 * as long, so that counting never takes more than a twentieth of the time, however many ask and however much waits; and
 * whoever asks while one is on the way gets that one.
 */
export function rememberSlow<A extends string[], T>(ask: (...types: A) => Promise<T>): (...types: A) => Promise<T> {
  const known = new Map<string, { until: number; answer: Promise<T> }>();
  return (...types) => {
    const key = types.join();
    const last = known.get(key);
    if (last && Date.now() < last.until) return last.answer;
    const began = Date.now();
    const entry = { until: Number.POSITIVE_INFINITY, answer: ask(...types) };
    known.set(key, entry);
    entry.answer.then(
      () => {
        const tookMs = Date.now() - began;
        entry.until = tookMs < SLOW_MS ? 0 : Date.now() + tookMs * TIMES;
      },
      () => known.delete(key),
    );
    return entry.answer;
  };
}

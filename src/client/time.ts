const FIRST_MS = 500;
const MOST_MS = 8_000;

/** How long to wait before a repetition: what the server asks for, and on top anything up to a bound that doubles (full jitter). */
export function repetitionMs(repetition: number, retryAfterMs = 0, mostMs = MOST_MS): number {
  return retryAfterMs + Math.random() * Math.min(mostMs, FIRST_MS * 2 ** repetition);
}

/** What a `Retry-After` asks for (RFC 9110: seconds or a date), in milliseconds; `undefined` where it says nothing. */
export function retryAfterOf(headers: Headers): number | undefined {
  const value = headers.get('retry-after')?.trim();
  if (!value) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/** Waits. @throws the reason of the signal when that aborts */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/** Waits for something, until it is there or the signal aborts. @throws the reason of the signal when that aborts */
export function orStop<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

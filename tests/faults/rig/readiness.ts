import { repeat } from '../../../src/lifecycle.ts';
import { until } from './wait.ts';

/** One look at `/readyz`; `status` 0 where nothing answered. */
export interface Look {
  at: number;
  api: number;
  status: number;
  word: string;
}

export interface Readiness {
  looks: Look[];
  /** The latest look at each API. */
  now(): Look[];
  /** Waits until every API says so; answers how long that took in milliseconds. */
  becomes(word: 'ready' | 'degraded' | 'unavailable' | 'not ready', withinMs?: number): Promise<number>;
  close(): Promise<void>;
}

const EVERY_MS = 250;
const TIMEOUT_MS = 4_000;

/** Looks at `/readyz` of each API four times a second. */
export function watchReadiness(urls: string[]): Readiness {
  const looks: Look[] = [];
  async function look(api: number): Promise<void> {
    const at = Date.now();
    try {
      const answer = await fetch(`${urls[api]}/readyz`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      const { status: word } = (await answer.json()) as { status: string };
      looks.push({ at, api, status: answer.status, word });
    } catch {
      looks.push({ at, api, status: 0, word: 'no answer' });
    }
  }
  const stops = urls.map((_, api) =>
    repeat(
      EVERY_MS,
      () => look(api),
      () => {},
    ),
  );
  const now = () => urls.map((_, api) => looks.findLast((one) => one.api === api) as Look);
  return {
    looks,
    now,
    async becomes(word, withinMs = 15_000) {
      const since = Date.now();
      const fits = (one: Look | undefined) =>
        one && one.at >= since && (word === 'not ready' ? one.status !== 200 : one.word === word);
      return (await until(`/readyz says ${word}`, () => now().every(fits), withinMs)).tookMs;
    },
    close: async () => void (await Promise.all(stops.map((stop) => stop()))),
  };
}

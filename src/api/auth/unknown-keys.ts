import { ProblemError } from '../../errors.ts';

/** API keys that were looked up and are not good, so that made-up ones do not cost the database a question each. */
export interface UnknownKeys {
  /** Whether a key is known not to be good. @throws ProblemError `quota-exceeded` where the address brought too many others */
  has(hash: string, address: string): boolean;
  add(hash: string, address: string): void;
  /** Forgets the keys: one of them may be good again, such as that of an account that was switched on. */
  clear(): void;
}

/** Long enough to save the questions of a program that goes on with a dead key. */
const REMEMBERED_MS = 10_000;
const MINUTE_MS = 60_000;
const MAX = 10_000;

/** Makes it, for one process. @param perMinute how many an address may bring; 0 is no limit */
export function createUnknownKeys(perMinute: number): UnknownKeys {
  const keys = new Map<string, number>();
  const brought = new Map<string, number>();
  let minute = 0;

  function present(): number {
    const now = Math.floor(Date.now() / MINUTE_MS);
    if (now !== minute) brought.clear();
    minute = now;
    return now;
  }

  return {
    clear: () => keys.clear(),
    has(hash, address) {
      const until = keys.get(hash);
      if (until !== undefined && until > Date.now()) return true;
      const next = (present() + 1) * MINUTE_MS;
      if (perMinute === 0 || (brought.get(address) ?? 0) < perMinute) return false;
      throw new ProblemError(
        'quota-exceeded',
        `From this address came ${perMinute} API keys in a minute that are not good (the limit unknown_keys). Check the key, and wait before the next try.`,
        {
          headers: { 'Retry-After': String(Math.max(1, Math.ceil((next - Date.now()) / 1000))) },
          policies: ['unknown_keys'],
        },
      );
    },
    add(hash, address) {
      present();
      keys.delete(hash);
      // A Map keeps the order of insertion.
      if (keys.size >= MAX) keys.delete(keys.keys().next().value as string);
      keys.set(hash, Date.now() + REMEMBERED_MS);
      // Who is not counted because there are too many addresses is one of very many at most.
      if (brought.size < MAX || brought.has(address)) brought.set(address, (brought.get(address) ?? 0) + 1);
    },
  };
}

import { hash, verify } from '@node-rs/bcrypt';
import { ProblemError } from '../../errors.ts';

export interface Passwords {
  hash(password: string): Promise<string>;
  /** Compares in the same time whether there is a hash or not. */
  matches(password: string, stored: string | undefined): Promise<boolean>;
}

/** bcrypt ignores what is beyond; longer passwords are refused rather than cut. */
export const MAX_PASSWORD_BYTES = 72;
export const MIN_PASSWORD_LENGTH = 12;

/** Hashes run on the thread pool, which has four threads that others want too. */
const AT_ONCE = 2;
const MAX_WAITING = 64;

/** Makes the hasher; at most two run at once, a bounded number waits, and what is beyond is answered with 503. */
export function createPasswords(cost: number): Passwords {
  const waiting: Array<() => void> = [];
  let running = 0;
  // A hash of nothing that anybody knows, for users that do not exist.
  let decoy: Promise<string> | undefined;

  async function limited<T>(work: () => Promise<T>): Promise<T> {
    if (running >= AT_ONCE) {
      if (waiting.length >= MAX_WAITING) {
        throw new ProblemError('temporary-reduced-capacity', 'Too many logins at once. Try again shortly.', {
          headers: { 'Retry-After': '2' },
        });
      }
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      // Who waited takes over the place of the one before instead, so that nobody slips in between.
      running++;
    }
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  }

  return {
    hash: (password) => limited(() => hash(password, cost)),
    async matches(password, stored) {
      decoy ??= hash(crypto.randomUUID(), cost);
      const against = stored ?? (await decoy);
      const fits = Buffer.byteLength(password) <= MAX_PASSWORD_BYTES;
      const same = await limited(() => verify(fits ? password : '', against));
      return same && fits && stored !== undefined;
    },
  };
}

import { hash, verify } from '@node-rs/bcrypt';
import { ProblemError } from '../../errors.ts';
import { MAX_PASSWORD_BYTES } from './weak-passwords.ts';

export interface Passwords {
  hash(password: string): Promise<string>;
  /**
   * Compares in the same time whether there is a hash or not, and whatever it cost to make.
   * @param first is done when it is the turn of this one; nothing is compared where it throws
   */
  matches(password: string, stored: string | undefined, first?: () => Promise<void>): Promise<boolean>;
  /** Whether this hash cost less to make than one would cost now. */
  isOutdated(stored: string): boolean;
}

/** Hashes run on the thread pool, which has four threads that others want too. */
const AT_ONCE = 2;
const MAX_WAITING = 64;

/** Makes the hasher; at most two run at once, a bounded number waits, and what is beyond is answered with 503. */
export function createPasswords(cost: number): Passwords {
  const waiting: Array<() => void> = [];
  let running = 0;
  // A hash of nothing that anybody knows, for users that do not exist; it is there before the first of them is asked for.
  const decoy = hash(crypto.randomUUID(), cost);

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

  /** A hash that was made at a lower cost is also compared with quicker, which would tell that there is one. */
  async function makeUpFor(stored: string): Promise<void> {
    // Each step of the cost doubles the work: the old one once, and then each of those up to the new one, is the new one.
    for (let step = costOf(stored); step < cost; step++) await hash('', step);
  }

  return {
    hash: (password) => limited(() => hash(password, cost)),
    async matches(password, stored, first) {
      const against = stored ?? (await decoy);
      const fits = Buffer.byteLength(password) <= MAX_PASSWORD_BYTES;
      const same = await limited(async () => {
        await first?.();
        const answer = await verify(fits ? password : '', against);
        await makeUpFor(against);
        return answer;
      });
      return same && fits && stored !== undefined;
    },
    isOutdated: (stored) => costOf(stored) < cost,
  };
}

/** The cost in a hash such as `$2b$12$…`. */
function costOf(stored: string): number {
  return Number(/^\$2[abxy]\$(\d\d)\$/.exec(stored)?.[1]);
}

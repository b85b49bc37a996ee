import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import type { Db } from '../../db/connect.ts';
import { findLoginWait, giveBackLogin, takeLogin } from '../../db/login-failures.ts';
import { ProblemError } from '../../errors.ts';

/** What may be tried against one account from one place. */
export interface LoginTarget {
  /** Takes one try; it counts as failed until it succeeds. @throws ProblemError `quota-exceeded` */
  take(): Promise<void>;
  /** The try that was taken had the right password. */
  succeeded(): Promise<void>;
}

/** Where a try to log in is aimed, and where it comes from. */
interface Target {
  /** The account; not there for a name that nobody has. */
  userId: string | undefined;
  /** What was typed. */
  name: string;
  /** The network that it comes from, where the account was logged in from it before. */
  knownNetwork: string | undefined;
}

export interface Logins {
  /** @throws ProblemError `quota-exceeded` where too many failed, the same for accounts that there are and that there are not */
  aim(target: Target): Promise<LoginTarget>;
}

/**
 * Limits how often passwords can be guessed. Ten may fail: by everybody together from where the account was never logged in
 * from, and by each network from where it was. So strangers cannot keep the owner out, and many strangers get no more guesses
 * than one. It is kept in Postgres, and so is one for all processes and outlives them.
 */
export function createLogins(db: Db): Logins {
  return {
    async aim({ userId, name, knownNetwork }) {
      const account = userId ?? `nobody ${name.normalize('NFKC').trim().toLowerCase()}`;
      const target = createHash('sha256')
        .update(`${account}\n${knownNetwork ?? 'strangers'}`)
        .digest();
      const wait = await findLoginWait(db, target);
      if (wait > 0) throw tooManyFailed(wait);
      return {
        async take() {
          if (!(await takeLogin(db, target))) throw tooManyFailed(await findLoginWait(db, target));
        },
        // What strangers got wrong is not made good by one who got it right.
        succeeded: () => giveBackLogin(db, target, { all: knownNetwork !== undefined }),
      };
    },
  };
}

function tooManyFailed(wait: number): ProblemError {
  return new ProblemError(
    'quota-exceeded',
    `Ten logins of this account have failed (the limit failed_logins), so not even the right password is taken now. Try again in ${Math.ceil(wait / 60) || 1} minutes, or log in from a network where you did before.`,
    { headers: { 'Retry-After': String(Math.max(1, wait)) }, policies: ['failed_logins'] },
  );
}

/** Whether this is the machine itself, from where it may always be tried apart from strangers. */
export function isLoopback(network: string): boolean {
  return isIP(network) === 4 ? network.startsWith('127.') : network === '0:0:0:0::/64';
}

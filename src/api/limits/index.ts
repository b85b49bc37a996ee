import type { Config } from '../../config.ts';
import type { Db } from '../../db/connect.ts';
import { addRequests } from '../../db/limits.ts';
import type { Notifications } from '../../db/notify.ts';
import { prune } from '../../db/prune.ts';
import { ProblemError } from '../../errors.ts';
import { repeat } from '../../lifecycle.ts';
import type { Logger } from '../../log.ts';
import type { QueueBackend } from '../../queues/backend.ts';
import { networkOf } from '../client-address.ts';
import { type Admission, createAdmission } from './admission.ts';
import { type AddRequests, createRates, type Standing, secondsLeft } from './rates.ts';
import { createUserLimits } from './user-limits.ts';

/** Who may ask for how much. */
export interface Limits extends Admission {
  /** Counts a request of a user; `undefined` where there is no limit. */
  request(userId: string): Standing | undefined;
  /** Counts what an address asks for without a token, at once in all processes; `undefined` where there is no limit. */
  attempt(address: string | null): Promise<Standing | undefined>;
  close(): Promise<void>;
}

interface Options {
  db: Db;
  backend: QueueBackend;
  notifications: Notifications;
  config: Pick<Config, 'limits'>;
  log: Logger;
}

const PRUNE_MS = 600_000;
const KEEP_SECONDS = 120;

/** Makes them. Requests are counted in Redis where the jobs are there, and in Postgres otherwise. */
export async function createLimits({ db, backend, notifications, config, log }: Options): Promise<Limits> {
  const limits = await createUserLimits({ db, notifications, defaults: config.limits.user, log });
  const { addCounts } = backend;
  const add: AddRequests = addCounts
    ? async (minute, added) => {
        const named = new Map([...added].map(([subject, count]) => [`${subject}:${minute}`, count]));
        const sums = await addCounts(named, KEEP_SECONDS);
        return new Map([...added.keys()].map((subject) => [subject, sums.get(`${subject}:${minute}`) ?? 0]));
      }
    : (minute, added) => addRequests(db, minute, added);
  const rates = createRates('requests_per_minute', add, (error) =>
    log.debug({ err: error }, 'requests could not be counted together; each process counts alone'),
  );
  const stopPruning = repeat(
    PRUNE_MS,
    () => prune(db),
    (error) => log.debug({ err: error }, 'what is over could not be taken away; tried again later'),
  );

  return {
    ...createAdmission({ db, limits }),
    request(userId) {
      const { requests_per_minute: limit } = limits.of(userId);
      return limit === 0 ? undefined : rates.take(userId, limit);
    },
    async attempt(address) {
      const limit = config.limits.authPerMinute;
      if (limit === 0 || address === null) return undefined;
      const now = Date.now();
      const subject = `auth ${networkOf(address)}`;
      const sums = await addRequests(db, Math.floor(now / 60_000), new Map([[subject, 1]]));
      const left = limit - (sums.get(subject) ?? 0);
      return {
        policy: 'auth_requests_per_minute',
        allowed: left >= 0,
        limit,
        remaining: Math.max(0, left),
        reset: secondsLeft(now),
      };
    },
    async close() {
      await rates.close();
      await stopPruning();
      await limits.close();
    },
  };
}

/** Refuses a request that is one too many. @throws ProblemError `quota-exceeded` */
export function refuseBeyond(rate: Standing | undefined): void {
  if (!rate || rate.allowed) return;
  const { policy, limit, reset } = rate;
  throw new ProblemError(
    'quota-exceeded',
    `${limit} requests a minute are allowed (the limit ${policy}), and these were more. Go on in ${reset} seconds.`,
    { headers: { 'Retry-After': String(reset) }, policies: [policy] },
  );
}

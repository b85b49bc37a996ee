import type { Config } from '../../config.ts';
import type { Db } from '../../db/connect.ts';
import { addRequests, pruneLimits } from '../../db/limits.ts';
import type { Notifications } from '../../db/notify.ts';
import { ProblemError } from '../../errors.ts';
import { repeat } from '../../lifecycle.ts';
import type { Logger } from '../../log.ts';
import type { QueueBackend } from '../../queues/backend.ts';
import { type Admission, createAdmission } from './admission.ts';
import { type AddRequests, createRates, type Standing } from './rates.ts';
import { createUserLimits } from './user-limits.ts';

/** Who may ask for how much. */
export interface Limits extends Admission {
  /** Counts a request of a user; `undefined` where there is no limit. */
  request(userId: string): Standing | undefined;
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
  const rates = createRates(add, (error) =>
    log.debug({ err: error }, 'requests could not be counted together; each process counts alone'),
  );
  const stopPruning = repeat(
    PRUNE_MS,
    () => pruneLimits(db),
    (error) => log.debug({ err: error }, 'old counts could not be taken away; tried again later'),
  );

  return {
    ...createAdmission({ db, limits }),
    request(userId) {
      const { requests_per_minute: limit } = limits.of(userId);
      return limit === 0 ? undefined : rates.take(userId, limit);
    },
    async close() {
      await rates.close();
      await stopPruning();
      await limits.close();
    },
  };
}

/** What a request beyond the limit is answered with. */
export function tooManyRequests({ limit, reset }: Standing): ProblemError {
  return new ProblemError(
    'quota-exceeded',
    `You may send ${limit} requests a minute (the limit requests_per_minute), and these were more. Go on in ${reset} seconds.`,
    { headers: { 'Retry-After': String(reset) }, policies: ['requests_per_minute'] },
  );
}

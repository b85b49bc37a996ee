import { createBatch } from '../../db/batch.ts';
import type { Db } from '../../db/connect.ts';
import { findUsed, type Used } from '../../db/limits.ts';
import { ProblemError } from '../../errors.ts';
import type { UserLimitTable } from './user-limits.ts';

/** Decides whether a user may have more tasks. */
export interface Admission {
  /**
   * Takes room for so many more tasks. Whoever was given it calls the answered function once they are stored, or not.
   * @throws ProblemError `quota-exceeded` that names the limit
   */
  admit(userId: string, tasks: number): Promise<() => void>;
}

interface Known extends Used {
  readAt: number;
  /** Tasks that were let in and are being stored. */
  underWay: number;
  /** Tasks that were stored since the last read, so that it may not have seen them. */
  stored: number;
  reading: Promise<void> | undefined;
}

/** What was read is good for so long, */
const GOOD_MS = 1_000;
/** and for so long where half of the room that was there is used. */
const TIGHT_MS = 100;
/** but in any case for a millisecond for each so many tasks that wait: counting them takes time, and so is done less often. */
const TASKS_A_MS = 100;
/** and where there is room, for one for each so many: that is a hundredth of the time, for each user. */
const ROOMY_TASKS_A_MS = 10;
const MAX_LOOKS = 3;
const MAX_USERS = 20_000;
const MAX_USERS_A_STATEMENT = 500;
const RETRY_SECONDS = '5';

/**
 * Makes it. What a user has used is read once a second at most while the user submits, ten times a second close to a limit,
 * for many users in one statement, and less often where very many wait; in between each process counts what it lets in itself.
 * So one process never lets more in than the limit, and several together pass it by what the others let in since the last
 * look: a tenth of a second, or a hundredth of a millisecond for each task that waits.
 */
export function createAdmission({ db, limits }: { db: Db; limits: UserLimitTable }): Admission {
  const users = new Map<string, Known>();
  const read = createBatch<{ userId: string; upTo: number }, Used>({
    run: (asked) => findUsed(db, asked),
    max: MAX_USERS_A_STATEMENT,
    parallel: 2,
    limit: { items: 2_000, ms: 5_000 },
  });

  async function refresh(userId: string, known: Known, upTo: number): Promise<void> {
    const before = known.stored;
    const { waiting, tokens } = await read({ userId, upTo });
    // What was stored while it was being read may not be in it.
    Object.assign(known, { waiting, tokens, readAt: Date.now(), stored: known.stored - before });
  }

  function knownOf(userId: string): Known {
    let known = users.get(userId);
    if (!known) {
      if (users.size >= MAX_USERS) forgetOldest();
      known = { waiting: 0, tokens: 0, readAt: 0, underWay: 0, stored: 0, reading: undefined };
      users.set(userId, known);
    }
    return known;
  }

  function forgetOldest(): void {
    for (const [userId, { underWay, reading }] of users) {
      if (underWay > 0 || reading) continue;
      users.delete(userId);
      return;
    }
  }

  return {
    async admit(userId, tasks) {
      const { waiting_tasks: maxWaiting, tokens_per_day: maxTokens } = limits.of(userId);
      if (maxWaiting === 0 && maxTokens === 0) return () => {};
      const known = knownOf(userId);
      const look = () => {
        known.reading ??= refresh(userId, known, maxWaiting).finally(() => {
          known.reading = undefined;
        });
        return known.reading;
      };
      const over = () => maxWaiting > 0 && known.waiting + known.stored + known.underWay + tasks > maxWaiting;
      const isOlderThan = (ms: number) =>
        Date.now() - known.readAt >= Math.max(ms, Math.floor(known.waiting / TASKS_A_MS));
      const tight = maxWaiting > 0 && known.stored + known.underWay + tasks > (maxWaiting - known.waiting) / 2;
      if (isOlderThan(tight ? TIGHT_MS : Math.max(GOOD_MS, known.waiting / ROOMY_TASKS_A_MS))) await look();
      // What was stored during a look is counted twice where the look saw it.
      for (let more = 0; more < MAX_LOOKS && over() && known.stored > 0 && isOlderThan(0); more++) await look();
      if (maxTokens > 0 && known.tokens >= maxTokens) throw tokensSpent(maxTokens);
      if (over()) throw tooManyWait(maxWaiting, tasks);
      known.underWay += tasks;
      return () => {
        known.underWay -= tasks;
        known.stored += tasks;
      };
    },
  };
}

function tooManyWait(max: number, tasks: number): ProblemError {
  return new ProblemError(
    'quota-exceeded',
    `Of your tasks at most ${max} may wait at a time (the limit waiting_tasks), and ${tasks > 1 ? `${tasks} more are` : 'one more is'} too many now. Wait until some have started, or cancel some.`,
    { headers: { 'Retry-After': RETRY_SECONDS }, policies: ['waiting_tasks'] },
  );
}

const DAY_SECONDS = 86_400;

function tokensSpent(max: number): ProblemError {
  const left = DAY_SECONDS - (Math.floor(Date.now() / 1000) % DAY_SECONDS);
  return new ProblemError(
    'quota-exceeded',
    `Your tasks have used the ${max} tokens of today (the limit tokens_per_day). There are new ones at midnight, UTC.`,
    { headers: { 'Retry-After': String(left) }, policies: ['tokens_per_day'] },
  );
}

import type { Db } from '../../db/connect.ts';
import { findUserLimits, LIMITS_CHANNEL, listUserLimits, type UserLimits } from '../../db/limits.ts';
import type { Notifications } from '../../db/notify.ts';
import { repeat } from '../../lifecycle.ts';
import type { Logger } from '../../log.ts';

/** What each limit is for a user; 0 is no limit. */
export type EffectiveLimits = { [K in keyof UserLimits]: number };

/** The limits of users, known without asking the database. */
export interface UserLimitTable {
  of(userId: string): EffectiveLimits;
  close(): Promise<void>;
}

interface Options {
  db: Db;
  notifications: Notifications;
  /** What everybody has. */
  defaults: EffectiveLimits;
  log: Logger;
}

/** A net below the notifications. */
const RELOAD_MS = 60_000;

/** Loads the limits of those who have some of their own, and follows their changes. */
export async function createUserLimits({ db, notifications, defaults, log }: Options): Promise<UserLimitTable> {
  let own = new Map<string, EffectiveLimits>();

  const merge = ({ waiting_tasks, running_tasks, tokens_per_day, requests_per_minute }: UserLimits) => ({
    waiting_tasks: waiting_tasks ?? defaults.waiting_tasks,
    running_tasks: running_tasks ?? defaults.running_tasks,
    tokens_per_day: tokens_per_day ?? defaults.tokens_per_day,
    requests_per_minute: requests_per_minute ?? defaults.requests_per_minute,
  });
  async function loadAll(): Promise<void> {
    own = new Map((await listUserLimits(db)).map((row) => [row.user_id, merge(row)]));
  }
  async function load(userId: string): Promise<void> {
    const row = await findUserLimits(db, userId);
    if (row) own.set(userId, merge(row));
    else own.delete(userId);
  }
  let reading = Promise.resolve();
  /** One after the other, so that an older answer does not come last. */
  function inTurn(read: () => Promise<void>): Promise<void> {
    const next = reading.then(read);
    reading = next.catch(() => {});
    return next;
  }
  const onError = (error: unknown) => log.warn({ err: error }, 'the limits of users could not be read');

  // Before the first look, so that no change falls between.
  const offChannel = notifications.on(LIMITS_CHANNEL, (userId) => void inTurn(() => load(userId)).catch(onError));
  // What was changed while the connection was away was not heard.
  const offConnect = notifications.onConnect(() => void inTurn(loadAll).catch(onError));
  await inTurn(loadAll);
  const stop = repeat(RELOAD_MS, () => inTurn(loadAll), onError);

  return {
    of: (userId) => own.get(userId) ?? defaults,
    async close() {
      offChannel();
      offConnect();
      await stop();
    },
  };
}

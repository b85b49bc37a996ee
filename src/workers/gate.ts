import { isDatabaseAway, isTooMuch, isWritable } from '../db/away.ts';
import type { Db } from '../db/connect.ts';
import { repeat, within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { LaneRunner } from './lane.ts';

/**
 * Keeps the lanes from fetching while the database takes no claims: what is fetched then goes round in circles, and
 * where only this process is cut off, it is kept from workers that could do it.
 */
export interface Gate {
  /** Told of every error of the database; shuts the lanes where one says that it is away, for more than one statement. */
  judge(error: unknown): void;
  /** Shuts them. */
  shut(error: unknown): void;
  close(): void;
}

const EVERY_MS = 1_000;
const PATIENCE_MS = 3_000;

/** Makes it, open. */
export function createGate(db: Db, runners: () => Iterable<LaneRunner>, log: Logger): Gate {
  let stopAsking: (() => Promise<void>) | undefined;
  let closed = false;

  async function ask(): Promise<void> {
    if (!(await within(isWritable(db), PATIENCE_MS, 'the database'))) return;
    void stopAsking?.();
    stopAsking = undefined;
    log.info('the database takes claims again');
    for (const runner of runners()) runner.hold(false);
  }

  function shut(error: unknown): void {
    if (stopAsking || closed) return;
    log.warn({ err: error }, 'the database takes no claims; nothing is fetched until it does, and outcomes wait');
    for (const runner of runners()) runner.hold(true);
    stopAsking = repeat(EVERY_MS, ask, (failed) => log.debug({ err: failed }, 'the database is still away'));
  }

  return {
    judge(error) {
      if (isDatabaseAway(error) && !isTooMuch(error)) shut(error);
    },
    shut,
    close() {
      closed = true;
      void stopAsking?.();
    },
  };
}

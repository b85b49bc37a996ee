import type { Db } from '../db/connect.ts';
import { markLines } from '../db/tasks/place.ts';
import type { Logger } from '../log.ts';

const EVERY_MS = 30_000;
/** It takes no more than this part of the time, however many wait. */
const TIMES = 50;

/**
 * Marks places in the lines of those that wait, for estimates of places far behind: now and then, beside everything else. Where a
 * round of it takes long, the next one is later.
 */
export function createMarker(db: Db, log: Logger): () => void {
  let next = 0;
  return () => {
    const began = Date.now();
    if (began < next) return;
    next = Number.POSITIVE_INFINITY;
    markLines(db)
      .catch((error) => log.debug({ err: error }, 'places could not be marked'))
      .finally(() => {
        next = began + Math.max(EVERY_MS, (Date.now() - began) * TIMES);
      });
  };
}

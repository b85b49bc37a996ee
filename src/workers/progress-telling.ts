import type { Db } from '../db/connect.ts';
import { type ProgressUpdate, tellProgress } from '../db/tasks/run.ts';
import type { Attempt } from './attempt.ts';

/** How far an attempt is. */
export type Progress = Pick<ProgressUpdate, 'percent' | 'message'>;

const TELL_EVERY_MS = 500;

/**
 * Makes the function that tells webhooks how far attempts are, each at most once in half a second; answers those for which
 * it is too early.
 * @param onTold hears of the deliveries that were stored
 */
export function createTelling(db: Db, onTold: (deliveries: string[]) => void) {
  /** When the webhooks of an attempt heard of it last. */
  const toldAt = new WeakMap<Attempt, number>();
  const isEarly = ([attempt]: [Attempt, Progress]) =>
    performance.now() - (toldAt.get(attempt) ?? Number.NEGATIVE_INFINITY) < TELL_EVERY_MS;

  return async (words: Array<[Attempt, Progress]>): Promise<Array<[Attempt, Progress]>> => {
    const early = words.filter(isEarly);
    const now = words.filter((one) => !early.includes(one));
    if (now.length === 0) return early;
    const told = await tellProgress(
      db,
      now.map(([attempt, word]) => ({
        ...{ id: attempt.task.id, attempt: attempt.task.attempt, ...word },
        first: !toldAt.has(attempt),
      })),
    );
    for (const [attempt] of now) toldAt.set(attempt, performance.now());
    if (told.length > 0) onTold(told);
    return early;
  };
}

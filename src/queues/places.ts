import { createBatch } from '../db/batch.ts';
import type { Db } from '../db/connect.ts';
import { BY_LANE } from '../db/tasks/backlog.ts';
import { callNext, type HoldOptions, isHeldElsewhere, type Line, linesOf, listLines } from '../db/tasks/holds.ts';
import type { Transition } from '../db/tasks/transition.ts';
import type { Logger } from '../log.ts';
import type { Dispatcher } from './dispatcher.ts';

/** Hands the places on that tasks of limited users and of keys give free. */
export interface Places {
  /**
   * Calls whoever stands next, together with other callers' lines. Never throws: what is missed here is found by
   * {@link Places.lookAround}.
   */
  freed(moved: Array<Pick<Transition, 'user_id' | 'concurrency_key'>>): Promise<void>;
  /**
   * Looks at the next lines in which somebody is held back, all of them in turn, and calls whom nobody has called; answers how many.
   * Lines of users at whom a worker is for too long come again.
   */
  lookAround(): Promise<number>;
}

const MAX_LINES = 100;
const LINES_A_LOOK = 500;
/** Where many users wait in the backlog of a lane, so many are passed by until the next look. */
const SEEN_A_LOOK = 4_000;

/** Makes it. */
export function createPlaces({
  db,
  dispatcher,
  log,
  ...options
}: HoldOptions & { db: Db; dispatcher: Dispatcher; log: Logger }): Places {
  async function call(given: Line[]): Promise<number> {
    const lines = [...new Map(given.map((line) => [`${line.user_id} ${line.held_by}`, line])).values()];
    const called = await callNext(db, lines, options);
    await dispatcher.enqueue(called.map((task) => ({ ...task, kind: 'task' as const })));
    return called.length;
  }
  const batch = createBatch<Line, undefined>({
    run: async (lines) => {
      await call(lines);
      return [];
    },
    max: MAX_LINES,
  });
  let last: Line | undefined;

  return {
    async freed(moved) {
      await Promise.all(linesOf(moved).map(batch)).catch((error) =>
        log.debug({ err: error }, 'who stands next could not be called; the reconciler does'),
      );
    },
    async lookAround() {
      const seen = await listLines(db, last, SEEN_A_LOOK);
      const lines = seen.filter(({ held_by }) => held_by !== BY_LANE).slice(0, LINES_A_LOOK);
      const whole = seen.length < SEEN_A_LOOK && lines.length < LINES_A_LOOK;
      last = whole ? undefined : lines.length === LINES_A_LOOK ? lines.at(-1) : seen.at(-1);
      try {
        return await call(lines);
      } catch (error) {
        // One user whose worker stands still must not keep the reconciler from everybody else's tasks.
        if (!isHeldElsewhere(error)) throw error;
        log.debug({ err: error }, 'who stands next could not be called now');
        return 0;
      }
    },
  };
}

import type { Db } from '../db/connect.ts';
import { withPausedLanes } from '../db/paused-lanes.ts';
import { within } from '../lifecycle.ts';
import { LANES } from '../tasks/lanes.ts';
import type { QueueBackend } from './backend.ts';

const PATIENCE_MS = 2_000;

/**
 * Lets the lanes that the table names stand still, and the others go on; whatever the queue store remembers, which may
 * have been emptied. @throws when the store or the database does not answer; the reconciler tries again
 */
export async function applyPauses(db: Db, backend: QueueBackend): Promise<void> {
  // One at a time: whoever read the table before a lane was paused would let it go on after that.
  await withPausedLanes(db, async (paused) => {
    const wanted = new Set(paused.map(({ lane }) => lane));
    const apply = async (lane: (typeof LANES)[number]) => {
      const queue = backend.queue(lane);
      if ((await queue.isPaused()) === wanted.has(lane)) return;
      await (wanted.has(lane) ? queue.pause() : queue.resume());
    };
    await within(Promise.all(LANES.map(apply)), PATIENCE_MS, `the ${backend.kind} queue`);
  });
}

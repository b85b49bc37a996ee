import type { Db } from '../db/connect.ts';
import { writeProgress } from '../db/tasks/run.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { cleanText } from '../tasks/clean.ts';
import type { Attempt } from './attempt.ts';

/** Writes how far attempts are: the latest word of each, together, a few times a second. */
export interface ProgressWriter {
  report(attempt: Attempt, percent: number | null, message: string | null): void;
  /** Stops at once; what is on the way is not waited for. */
  close(): void;
}

const EVERY_MS = 250;

/** Starts the writer. Progress that cannot be written is let go: the next word replaces it anyway. */
export function createProgress(db: Db, log: Logger): ProgressWriter {
  let latest = new Map<Attempt, { percent: number | null; message: string | null }>();

  async function flush(): Promise<void> {
    if (latest.size === 0) return;
    const updates = [...latest].map(([{ task }, said]) => ({ id: task.id, attempt: task.attempt, ...said }));
    latest = new Map();
    await writeProgress(db, updates);
  }

  const stop = repeat(EVERY_MS, flush, (error) => log.debug({ err: error }, 'progress could not be written'));
  return {
    report(attempt, percent, message) {
      const bounded = percent === null || !Number.isFinite(percent) ? null : Math.min(100, Math.max(0, percent));
      latest.set(attempt, { percent: bounded, message: message === null ? null : cleanText(message.slice(0, 500)) });
    },
    close: () => void stop(),
  };
}

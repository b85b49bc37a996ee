import type { Notifications } from '../db/notify.ts';
import { TASK_CHANNEL } from '../db/tasks/transition.ts';

/** Lets requests sleep until a task ends. */
export interface Waiters {
  /** Listens for the end of a task from now on. Open it before the row is read or written, so that no end falls between. */
  watch(taskId: string): Watch;
  /** Wakes everybody and lets nobody sleep any more. */
  close(): void;
}

/** One request that listens for the end of a task. */
export interface Watch {
  /**
   * Resolves when the task was said to have ended since the watch was opened or last waited for, after `ms`, or when the
   * client goes away. Answers whether waiting again has a point; the row tells how the task is.
   */
  wait(ms: number, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

/** Makes it. One listener serves all who wait, and nobody asks the database while waiting. */
export function createWaiters(notifications: Notifications): Waiters {
  let closed = false;
  const watches = new Map<string, Set<() => void>>();
  const wake = (id: string) => {
    for (const ring of watches.get(id) ?? []) ring();
  };
  const offChannel = notifications.on(TASK_CHANNEL, (payload) => {
    const [what, id] = payload.split(' ');
    if (what === 'ended' && id) wake(id);
  });
  // What ended while the connection was away was not said: everybody looks at the rows again.
  const wakeAll = () => {
    for (const id of [...watches.keys()]) wake(id);
  };
  const offConnect = notifications.onConnect(wakeAll);

  return {
    watch(taskId) {
      let rung = false;
      let resume: (() => void) | undefined;
      const ring = () => {
        rung = true;
        resume?.();
      };
      const same = watches.get(taskId) ?? new Set();
      watches.set(taskId, same.add(ring));
      return {
        async wait(ms, signal) {
          if (!rung && !closed && !signal.aborted) {
            await new Promise<void>((resolve) => {
              const timer = setTimeout(resolve, ms);
              resume = () => {
                clearTimeout(timer);
                resolve();
              };
              signal.addEventListener('abort', resume, { once: true });
            });
            if (resume) signal.removeEventListener('abort', resume);
            resume = undefined;
          }
          rung = false;
          return !closed && !signal.aborted;
        },
        close() {
          same.delete(ring);
          if (same.size === 0 && watches.get(taskId) === same) watches.delete(taskId);
        },
      };
    },
    close() {
      closed = true;
      wakeAll();
      offChannel();
      offConnect();
    },
  };
}

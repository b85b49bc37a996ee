import type { Notifications } from '../db/notify.ts';
import { TASK_CHANNEL } from '../db/tasks/transition.ts';

/** Lets requests sleep until a task ends. */
export interface Waiters {
  /** Resolves when the task is said to have ended, after `ms`, or when the client goes away; the row tells which. */
  wait(taskId: string, ms: number, signal: AbortSignal): Promise<void>;
  /** Wakes everybody and lets nobody sleep any more. */
  close(): void;
  closed(): boolean;
}

/** Makes it. One listener serves all who wait, and nobody asks the database while waiting. */
export function createWaiters(notifications: Notifications): Waiters {
  let closed = false;
  const sleepers = new Map<string, Set<() => void>>();
  const wake = (id: string) => {
    for (const resolve of sleepers.get(id) ?? []) resolve();
  };
  const offChannel = notifications.on(TASK_CHANNEL, (payload) => {
    const [what, id] = payload.split(' ');
    if (what === 'ended' && id) wake(id);
  });
  // What ended while the connection was away was not said: everybody looks at the rows again.
  const wakeAll = () => {
    for (const id of [...sleepers.keys()]) wake(id);
  };
  const offConnect = notifications.onConnect(wakeAll);

  return {
    wait(taskId, ms, signal) {
      return new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', done);
          const same = sleepers.get(taskId);
          same?.delete(done);
          if (same?.size === 0) sleepers.delete(taskId);
          resolve();
        };
        const timer = setTimeout(done, ms);
        signal.addEventListener('abort', done, { once: true });
        const same = sleepers.get(taskId) ?? new Set();
        sleepers.set(taskId, same.add(done));
        if (signal.aborted) done();
      });
    },
    closed: () => closed,
    close() {
      closed = true;
      wakeAll();
      offChannel();
      offConnect();
    },
  };
}

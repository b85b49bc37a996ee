import type { Notifications } from '../db/notify.ts';
import { TASK_CHANNEL } from '../db/tasks/transition.ts';

/** Lets requests sleep until something happens to a task. */
export interface Waiters {
  /**
   * Listens to a task from now on, to its end or to every change. Open it before the row is read or written, so that nothing
   * falls between. Changes are only said of tasks that are marked as read.
   */
  watch(taskId: string, to?: 'end' | 'changes'): Watch;
  /** Calls `listener` when others may have been told what this process was not, as after the connection broke. */
  onMissed(listener: () => void): () => void;
  /** Wakes everybody and lets nobody sleep any more. */
  close(): void;
}

/** One request that listens to a task. */
export interface Watch {
  /**
   * Resolves when it was woken since it was opened or last waited for, after `ms`, or when the client goes away. Answers
   * whether waiting again has a point; the row tells how the task is.
   */
  wait(ms: number, signal?: AbortSignal): Promise<boolean>;
  /** Whether the row may have changed since this was asked last; it may have at the beginning. */
  changed(): boolean;
  /** Wakes this one, without a change of the row. */
  ring(): void;
  /** Lets `changed` answer that the row may have changed. */
  stir(): void;
  close(): void;
}

interface Bell {
  to: 'end' | 'changes';
  ring: (changed: boolean) => void;
}

/** Makes it. One listener serves all who wait, and nobody asks the database while waiting. */
export function createWaiters(notifications: Notifications): Waiters {
  let closed = false;
  const bells = new Map<string, Set<Bell>>();
  const missed = new Set<() => void>();
  const wake = (id: string, what: 'end' | 'changes') => {
    for (const { to, ring } of bells.get(id) ?? []) if (what === 'end' || to === 'changes') ring(true);
  };
  const offChannel = notifications.on(TASK_CHANNEL, (payload) => {
    const [what, id] = payload.split(' ');
    if (what === 'ended' && id) wake(id, 'end');
    else if ((what === 'changed' || what === 'cancelling') && id) wake(id, 'changes');
  });
  const wakeAll = () => {
    for (const id of [...bells.keys()]) wake(id, 'end');
  };
  // What happened while the connection was away was not said: everybody looks at the rows again.
  const offConnect = notifications.onConnect(() => {
    wakeAll();
    for (const listener of missed) listener();
  });

  return {
    watch(taskId, to = 'end') {
      let rung = false;
      let changed = true;
      let resume: (() => void) | undefined;
      const wakeUp = () => {
        rung = true;
        resume?.();
      };
      const bell: Bell = {
        to,
        ring(isChange) {
          changed ||= isChange;
          wakeUp();
        },
      };
      const same = bells.get(taskId) ?? new Set();
      bells.set(taskId, same.add(bell));
      return {
        async wait(ms, signal) {
          if (!rung && !closed && !signal?.aborted) {
            await new Promise<void>((resolve) => {
              const timer = setTimeout(resolve, ms);
              resume = () => {
                clearTimeout(timer);
                resolve();
              };
              signal?.addEventListener('abort', resume, { once: true });
            });
            if (resume) signal?.removeEventListener('abort', resume);
            resume = undefined;
          }
          rung = false;
          return !closed && !signal?.aborted;
        },
        changed() {
          const was = changed;
          changed = false;
          return was;
        },
        ring: wakeUp,
        stir() {
          changed = true;
        },
        close() {
          same.delete(bell);
          if (same.size === 0 && bells.get(taskId) === same) bells.delete(taskId);
        },
      };
    },
    onMissed(listener) {
      missed.add(listener);
      return () => missed.delete(listener);
    },
    close() {
      closed = true;
      wakeAll();
      offChannel();
      offConnect();
    },
  };
}

import { errorMessage } from './errors.ts';
import type { Logger } from './log.ts';

/** Closes what was opened, last in first out; goes on after an error and never closes a thing twice. */
export interface Stack {
  defer(name: string, close: () => Promise<void> | void): void;
  close(): Promise<void>;
}

/** Makes an empty stack. `close` may be called any number of times; all callers wait for the same closing. */
export function createStack(log: Logger): Stack {
  const closers: Array<{ name: string; close: () => Promise<void> | void }> = [];
  let closing: Promise<void> | undefined;

  async function closeAll(): Promise<void> {
    for (let closer = closers.pop(); closer; closer = closers.pop()) {
      try {
        await closer.close();
      } catch (error) {
        log.error({ err: error, part: closer.name }, `closing ${closer.name} failed: ${errorMessage(error)}`);
      }
    }
  }

  return {
    defer(name, close) {
      closers.push({ name, close });
    },
    close() {
      closing ??= closeAll();
      return closing;
    },
  };
}

/** Waits for `promise`, but no longer than `ms`; then rejects with a message that names `what`. */
export async function within<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Calls `work` again and again, `everyMs` after the last call ended, until stopped. A failure is reported and does not stop it. */
export function repeat(
  everyMs: number,
  work: () => Promise<void>,
  onError: (error: unknown) => void,
): () => Promise<void> {
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();

  function schedule(): void {
    if (stopped) return;
    timer = setTimeout(() => {
      running = work().catch(onError).finally(schedule);
    }, everyMs);
  }
  schedule();

  return async () => {
    stopped = true;
    clearTimeout(timer);
    await running;
  };
}

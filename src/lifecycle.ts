import type { ChildProcess } from 'node:child_process';
import { errorMessage, Interrupted } from './errors.ts';
import type { Logger } from './log.ts';

/** Thrown at whoever goes on building what is being taken down. */
export class Stopping extends Error {
  override readonly name = 'Stopping';
}

/** Closes what was opened, last in first out; goes on after an error, waits for nothing for ever, and never closes a thing twice. */
export interface Stack {
  /**
   * What comes while the stack closes is closed at once.
   * @param withinMs how long its closing may hold up the rest
   * @throws Stopping when the stack closes already
   */
  defer(name: string, close: () => Promise<void> | void, withinMs?: number): void;
  close(): Promise<void>;
}

const CLOSE_TIMEOUT_MS = 500;

/**
 * Makes an empty stack. `close` may be called any number of times; all callers wait for the same closing.
 * @param patienceMs how long one part may hold up the rest unless it says so itself
 */
export function createStack(log: Logger, patienceMs = CLOSE_TIMEOUT_MS): Stack {
  const closers: Array<{ name: string; close: () => Promise<void> | void; withinMs: number }> = [];
  let closing: Promise<void> | undefined;

  async function closeAll(): Promise<void> {
    for (let closer = closers.pop(); closer; closer = closers.pop()) {
      const { name, close, withinMs } = closer;
      try {
        await within(Promise.resolve(close()), withinMs, name);
      } catch (error) {
        log.error({ err: error, part: name }, `closing ${name} failed: ${errorMessage(error)}`);
      }
    }
  }

  return {
    defer(name, close, withinMs = patienceMs) {
      closers.push({ name, close, withinMs });
      if (!closing) return;
      closing = closing.then(closeAll);
      throw new Stopping(`${name} came when everything was stopping`);
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

/**
 * Answers a function that has `work` done: at once, or when `everyMs` have passed since it was last begun; once, however often it is
 * asked for meanwhile.
 * @param work never rejects
 */
export function createBell(everyMs: number, work: () => Promise<unknown>): () => void {
  let timer: NodeJS.Timeout | undefined;
  let beganAt = Number.NEGATIVE_INFINITY;
  let running = false;
  let again = false;

  async function begin(): Promise<void> {
    timer = undefined;
    if (running) {
      again = true;
      return;
    }
    running = true;
    beganAt = performance.now();
    await work();
    running = false;
    if (!again) return;
    again = false;
    ring();
  }

  function ring(): void {
    if (timer) return;
    const waitMs = beganAt + everyMs - performance.now();
    if (waitMs <= 0) void begin();
    else timer = setTimeout(begin, waitMs).unref();
  }
  return ring;
}

/** The exit code of what a signal ended. */
export const INTERRUPTED = 130;

/**
 * Does work that a signal asks to break off. A second one ends the process at once, and with it what it started.
 * @throws Interrupted where the work failed after a signal; with `said`, unless the work knows more of how far it came
 */
export async function interruptible(said: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const interrupt = (name: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(INTERRUPTED);
    console.error(`Breaking off …; a second ${name} ends it at once.`);
    stop.abort();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of signals) process.on(name, interrupt);
  try {
    await work(stop.signal);
  } catch (error) {
    throw stop.signal.aborted && !(error instanceof Interrupted) ? new Interrupted(said, { cause: error }) : error;
  } finally {
    for (const name of signals) process.off(name, interrupt);
  }
}

/** Ends a process of ours with this one when that exits without having stopped it, as on a second Ctrl-C. */
export function endWithUs(child: ChildProcess, signal: NodeJS.Signals): void {
  const end = () => child.kill(signal);
  process.once('exit', end);
  child.once('exit', () => process.off('exit', end));
}

/** Options of Node for threads and processes of ours: what takes the types out of our files is wanted there, too. */
export function nodeOptions(): string[] {
  const takesTypesOut = process.execArgv.filter((option) => option.endsWith('/take-types-out.mjs'));
  return ['--disable-warning=ExperimentalWarning', ...takesTypesOut];
}

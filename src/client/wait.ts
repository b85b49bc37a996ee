import { SutazaiError } from './errors.ts';
import { retryAfterOf, sleep } from './time.ts';
import type { Call, CallOptions, Transport } from './transport.ts';
import { hasEnded, type Task } from './types.ts';

export interface WaitOptions extends CallOptions {
  /** How long to wait altogether, in milliseconds; without end where it is not said. */
  timeoutMs?: number;
  /** Is told of the task each time it is found changed, and at its end. */
  onProgress?: (task: Task) => void;
}

/** The most that the server holds an answer. */
const HOLD_SECONDS = 50;
/** Who wants to see progress asks more often. */
const LOOK_SECONDS = 1;
/** What an answer may take once the server lets it go. */
const ANSWER_MS = 15_000;

/**
 * Waits until a task has ended.
 * @param first a request whose answer is the task, sent in the place of the first look at it
 * @throws SutazaiError `wait_timeout` after `timeoutMs`, whatever the server does meanwhile; the task goes on
 */
export async function waitForTask<O>(
  transport: Transport,
  id: string | undefined,
  { timeoutMs = Number.POSITIVE_INFINITY, signal, onProgress }: WaitOptions,
  first?: Call,
): Promise<Task<O>> {
  const deadline = Date.now() + timeoutMs;
  // A timer of the platform takes no more than 31 bits.
  const over = timeoutMs < 2 ** 31 ? AbortSignal.timeout(Math.max(0, Math.ceil(timeoutMs))) : undefined;
  const stop = over && signal ? AbortSignal.any([signal, over]) : (over ?? signal);
  let known: { task: Task<O>; etag: string | null } | undefined;
  const late = () => {
    const [what, then] = known
      ? [`The task ${known.task.id} is still ${known.task.status}`, 'it goes on']
      : ['There was no answer', id === undefined ? 'the task may have been handed in' : `the task ${id} goes on`];
    return new SutazaiError('wait_timeout', `${what} after ${timeoutMs} ms; ${then}.`);
  };
  try {
    for (;;) {
      const started = Date.now();
      // Held for less than what is left, so that something is known of the task when the time is over.
      const left = Math.floor((deadline - started) / 1000);
      const seconds = Math.max(1, Math.min(onProgress ? LOOK_SECONDS : HOLD_SECONDS, left));
      const call: Call =
        known || !first
          ? { method: 'GET', path: `/api/v1/tasks/${encodeURIComponent(known?.task.id ?? id ?? '')}` }
          : first;
      const { status, headers, body } = await transport.send<Task<O>>({
        ...call,
        headers: {
          ...call.headers,
          prefer: `wait=${seconds}`,
          ...(known?.etag ? { 'if-none-match': known.etag } : {}),
        },
        signal: stop,
        timeoutMs: seconds * 1000 + ANSWER_MS,
      });
      if (status !== 304) {
        known = { task: body, etag: headers.get('etag') };
        onProgress?.(body);
        if (hasEnded(body.status)) return body;
      }
      // The time that the server held the answer counts as waiting.
      const pause = (retryAfterOf(headers) ?? 1_000) - (Date.now() - started);
      if (Date.now() + Math.max(0, pause) >= deadline) throw late();
      if (pause > 0) await sleep(pause, stop);
    }
  } catch (error) {
    throw over?.aborted && error === over.reason ? late() : error;
  }
}

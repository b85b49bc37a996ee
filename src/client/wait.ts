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
 * @throws SutazaiError `wait_timeout` after `timeoutMs`; the task goes on
 */
export async function waitForTask<O>(
  transport: Transport,
  id: string | undefined,
  { timeoutMs = Number.POSITIVE_INFINITY, signal, onProgress }: WaitOptions,
  first?: Call,
): Promise<Task<O>> {
  const deadline = Date.now() + timeoutMs;
  let known: { task: Task<O>; etag: string | null } | undefined;
  for (;;) {
    const started = Date.now();
    const left = deadline - started;
    const seconds = Math.max(1, Math.min(onProgress ? LOOK_SECONDS : HOLD_SECONDS, Math.ceil(left / 1000)));
    const call: Call =
      known || !first
        ? { method: 'GET', path: `/api/v1/tasks/${encodeURIComponent(known?.task.id ?? id ?? '')}` }
        : first;
    const { status, headers, body } = await transport.send<Task<O>>({
      ...call,
      headers: { ...call.headers, prefer: `wait=${seconds}`, ...(known?.etag ? { 'if-none-match': known.etag } : {}) },
      signal,
      timeoutMs: seconds * 1000 + ANSWER_MS,
    });
    if (status !== 304) {
      known = { task: body, etag: headers.get('etag') };
      onProgress?.(body);
      if (hasEnded(body.status)) return body;
    }
    // The time that the server held the answer counts as waiting.
    const pause = (retryAfterOf(headers) ?? 1_000) - (Date.now() - started);
    if (Date.now() + Math.max(0, pause) >= deadline) {
      const task = known?.task;
      throw new SutazaiError(
        'wait_timeout',
        `The task ${task?.id} is still ${task?.status} after ${timeoutMs} ms; it goes on.`,
      );
    }
    if (pause > 0) await sleep(pause, signal);
  }
}

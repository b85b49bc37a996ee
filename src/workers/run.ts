import * as v from 'valibot';
import type { StoredError } from '../db/schema.ts';
import type { HeldBack } from '../db/tasks/claim-limited.ts';
import type { ClaimedTask, Settlement } from '../db/tasks/run.ts';
import type { Transition } from '../db/tasks/transition.ts';
import { errorMessage, TaskError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { cleanJson, cleanText, findNotJson } from '../tasks/clean.ts';
import { backoffMs, laterMs, type TaskType } from '../tasks/define.ts';
import type { Registry } from '../tasks/index.ts';
import type { Tools } from '../tasks/tools.ts';
import { WORKFLOW } from '../tasks/workflow-definition.ts';
import { type Attempt, AttemptStopped, asOutage, Parked, type RunningAttempts, triesOf } from './attempt.ts';
import type { Claimed } from './claims.ts';
import { idsOf, measureAttempt, noteEnd } from './measure.ts';

/** What a run of a job came to, as BullMQ has to hear it. */
export type RunResult =
  | { kind: 'dropped' }
  | { kind: 'done' }
  | { kind: 'failed'; error: StoredError }
  /** `turnedAway` when nothing was tried, or might as well not have been. */
  | { kind: 'retry'; error: StoredError; delayMs: number; turnedAway: boolean };

/** Whoever hands on what attempts say while they run. */
export interface Reports {
  start(attempt: Attempt): void;
  /** Never takes long. */
  end(attempt: Attempt): Promise<void>;
}

/** What the steps of a run need. */
export interface RunContext {
  registry: Registry;
  running: RunningAttempts;
  tools: (attempt: Attempt) => Tools;
  /** Told when an attempt begins, and when all was said by it, before its end is written. */
  reports: Reports;
  claim: (claim: { id: string; generation: number }) => Promise<Claimed | HeldBack | undefined>;
  /** Writes the outcome, for as long as it takes; `undefined` when the attempt is no longer ours. */
  settle: (settlement: Settlement) => Promise<Transition | undefined>;
  /** Told of every task that the settling moved, whether it waits without a job to wake a worker, and whether others wait for its place. */
  onSettled: (moved: Transition, is: { wantsJob: boolean; limited: boolean }) => Promise<void>;
  /** What a claim gave is over; `known` says whether it is written what became of it, or is others' to write. */
  ended: (taskId: string, known: boolean) => void;
  maxOutputBytes: number;
  log: Logger;
}

/** How an attempt ended, before it is written. */
type Ending = Pick<Settlement, 'status' | 'outcome' | 'output' | 'error' | 'delay_ms' | 'new_job' | 'park'>;

/** How long a task of an unknown type waits before the next worker looks at it; longer each time. */
const UNKNOWN_TYPE_MS = 5_000;
const MAX_UNKNOWN_TYPE_MS = 60_000;

/** Nothing is stored of it: the task waits as before. */
const USER_BUSY = { code: 'user_busy', message: 'Another worker claims for the same user.', retryable: true };

/**
 * Runs a task: claim, parse, run, parse again, settle.
 * @param job `early` where it is not the job of the task that the worker holds: then no job waits for its next attempt
 */
export async function runTask(
  { early = false, ...job }: { id: string; generation: number; early?: boolean },
  context: RunContext,
): Promise<RunResult> {
  const claimed = await context.claim(job);
  if (!claimed) return { kind: 'dropped' };
  if ('waitMs' in claimed) return { kind: 'retry', error: USER_BUSY, delayMs: claimed.waitMs, turnedAway: false };
  const { task } = claimed;
  const attempt = context.running.start(claimed);
  let known = false;
  try {
    const how = { early, limited: claimed.limited ?? false };
    const result = await measureAttempt(task, () => runAttempt(attempt, how, context));
    known = true;
    return result;
  } finally {
    context.running.end(attempt);
    context.ended(task.id, known);
  }
}

async function runAttempt(
  attempt: Attempt,
  { early, limited }: { early: boolean; limited: boolean },
  context: RunContext,
): Promise<RunResult> {
  const { task } = attempt;
  context.reports.start(attempt);
  const ending = await endingOf(attempt, context);
  // Whoever reads it has all of it before hearing that the attempt has ended.
  await context.reports.end(attempt);
  if (ending === 'lost') return { kind: 'dropped' };
  const wantsJob = ending.new_job || (early && ending.status === 'pending');
  const moved = await context.settle({
    id: task.id,
    attempt: task.attempt,
    model: attempt.model,
    model_digest: attempt.digest,
    host: attempt.host,
    usage: attempt.usage,
    own_webhook: task.own_webhook,
    follows: task.parent_id !== null || task.type === WORKFLOW,
    ...ending,
    new_job: wantsJob,
  });
  noteEnd(attempt, ending, { fenced: !moved, log: context.log });
  if (!moved) return { kind: 'dropped' };
  // One that was signalled meanwhile waits again, and no job of it is left.
  const signalled = ending.park !== undefined && moved.status === 'pending';
  await context.onSettled(moved, { wantsJob: wantsJob || signalled, limited });
  return resultOf(moved, ending);
}

function resultOf(moved: Transition, ending: Ending): RunResult {
  if (moved.status === 'failed' && ending.error) return { kind: 'failed', error: ending.error };
  if (moved.status === 'pending' && ending.error && !ending.new_job)
    return {
      kind: 'retry',
      error: ending.error,
      delayMs: ending.delay_ms,
      turnedAway: ending.outcome === 'released',
    };
  return { kind: 'done' };
}

async function endingOf(attempt: Attempt, context: RunContext): Promise<Ending | 'lost'> {
  const { task } = attempt;
  const type = context.registry.find(task.type);
  if (!type) return givenBack(task);
  try {
    const input = parse(type.input, task.input, 'invalid_input', 'The stored input does not fit the task type');
    const output = await raceSignal(type.run(input, context.tools(attempt)), attempt.signal);
    return completed(type, output, context.maxOutputBytes);
  } catch (error) {
    return failedOrStopped(error, attempt, type, context.log);
  }
}

/** A newer worker may know the type: what an older process cannot judge does not count as a failure. */
function givenBack({ type, attempt }: ClaimedTask): Ending {
  const message = `No worker here knows the task type ${type}.`;
  return {
    status: 'pending',
    outcome: 'released',
    output: null,
    error: { code: 'unknown_task_type', message, retryable: true },
    delay_ms: Math.min(UNKNOWN_TYPE_MS * attempt, MAX_UNKNOWN_TYPE_MS),
    new_job: true,
  };
}

function completed(type: TaskType, output: unknown, maxBytes: number): Ending {
  const text = jsonOf(type, output);
  if (Buffer.byteLength(text) > maxBytes) {
    throw new TaskError(
      'output_too_large',
      `The output has ${Buffer.byteLength(text)} bytes; at most ${maxBytes} are kept.`,
    );
  }
  return { status: 'completed', outcome: 'completed', output: text, error: null, delay_ms: 0, new_job: false };
}

/** What cannot be stored now cannot be stored after another attempt either, so whatever goes wrong here is final. */
function jsonOf(type: TaskType, output: unknown): string {
  try {
    // First, because nothing after it bears a cycle or any depth.
    const wrong = findNotJson(output);
    if (wrong) throw new TaskError('invalid_output', `The output cannot be stored: ${wrong.pointer} ${wrong.detail}.`);
    const parsed = parse(type.output, output, 'invalid_output', 'The output does not fit the task type');
    return JSON.stringify(cleanJson(parsed));
  } catch (error) {
    if (error instanceof TaskError) throw error;
    throw new TaskError('invalid_output', `The output cannot be stored: ${errorMessage(error)}`, { cause: error });
  }
}

function failedOrStopped(error: unknown, { task, signal }: Attempt, type: TaskType, log: Logger): Ending | 'lost' {
  const nothing = { output: null, error: null, delay_ms: 0, new_job: false };
  const stopped = signal.aborted && signal.reason instanceof AttemptStopped ? signal.reason.reason : undefined;
  if (stopped === 'lost') return 'lost';
  if (stopped === 'cancelled') return { ...nothing, status: 'cancelled', outcome: 'cancelled' };
  if (stopped === 'shutdown' || stopped === 'cut_off')
    return { ...nothing, status: 'pending', outcome: 'released', new_job: true };

  if (error instanceof Parked && stopped === undefined) {
    const park = { awaiting: error.awaiting, until_ms: error.untilMs ?? null, signals: task.signals };
    return { ...nothing, status: 'running', outcome: 'parked', park };
  }
  const cause =
    stopped === 'timeout'
      ? new TaskError('timeout', `The task did not end within ${task.timeout_ms} ms.`, { retryable: true })
      : asOutage(error, task);
  if (!(cause instanceof TaskError))
    log.error({ err: cause, ...idsOf(task), type: task.type }, 'a task type threw what it does not understand');
  const known =
    cause instanceof TaskError ? cause : new TaskError('internal_error', 'Internal error', { retryable: true });
  const stored = { code: known.code, message: cleanText(known.message.slice(0, 2_000)), retryable: known.retryable };
  if (known.later) {
    // Who says when it is worth coming back is believed, so that a long outage leaves no long waits behind.
    const delay =
      known.retryAfterMs === undefined
        ? laterMs(type.defaults.backoff, triesOf(task))
        : known.retryAfterMs + backoffMs(type.defaults.backoff, 1);
    return { ...nothing, status: 'pending', outcome: 'released', error: stored, delay_ms: delay };
  }
  const failures = task.failures + 1;
  if (!known.retryable || failures >= task.max_attempts)
    return { ...nothing, status: 'failed', outcome: 'failed', error: stored };
  const delay = Math.max(known.retryAfterMs ?? 0, backoffMs(type.defaults.backoff, failures));
  return { ...nothing, status: 'pending', outcome: 'retry', error: stored, delay_ms: delay };
}

function parse<S extends v.GenericSchema>(
  schema: S,
  given: unknown,
  code: 'invalid_input' | 'invalid_output',
  what: string,
): v.InferOutput<S> {
  const parsed = v.safeParse(schema, given);
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  throw new TaskError(code, `${what}: ${v.getDotPath(issue) ?? 'the whole of it'} ${issue.message}`);
}

/** A task type that does not listen to its signal must not keep the worker; what it does afterwards is not stored. */
async function raceSignal<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (stop) signal.removeEventListener('abort', stop);
    work.catch((error) => void errorMessage(error));
  }
}

import { SutazaiError } from './errors.ts';
import { eventsOf, type ServerEvent } from './sse.ts';
import { repetitionMs, sleep } from './time.ts';
import { type CallOptions, mayHelp, reasonOf, type Transport } from './transport.ts';
import type { Status, Task, TaskFailure } from './types.ts';

/** Something that happened to a task; which fields are there depends on what it is. */
export interface TimelineEvent {
  /** Sorts by time; `after` of a stream and `cursor` of the timeline take it. */
  id: string;
  at: string;
  type:
    | 'accepted'
    | 'queued'
    | 'started'
    | 'progress'
    | 'log'
    | 'cancel_requested'
    | 'attempt_ended'
    | 'webhook'
    | 'ended'
    | 'retried'
    | 'step'
    | 'resumed';
  /** Where the task stood after it; `null` where that did not change. */
  status: Status | null;
  attempt: number;
  by?: string | null;
  reason?: string | null;
  outcome?: 'completed' | 'failed' | 'retry' | 'released' | 'cancelled' | 'lost' | 'parked';
  error?: TaskFailure | null;
  percent?: number | null;
  message?: string | null;
  level?: 'info' | 'warn';
  fields?: Record<string, unknown> | null;
  delivery_id?: string;
  event?: string;
  url?: string;
  http_status?: number | null;
  failure?: string | null;
  latency_ms?: number;
  /** Of a `step`, a part of the task that is done: its name, what kind of part, and how many milliseconds it took. */
  name?: string;
  kind?: string;
  ms?: number;
}

/** What happens to a task, in order. `completed` is the last one, however the task ended: it brings the whole of it. */
export type TaskEvent<O = unknown> =
  | { type: 'status' | 'progress' | 'log' | 'step'; entry: TimelineEvent }
  /** A piece of the text that the attempt writes; `offset` is where it begins. A new attempt begins at 0 again. */
  | { type: 'output'; attempt: number; offset: number; text: string }
  | { type: 'completed'; task: Task<O> };

/** `timeoutMs` bounds how long the server may take to begin. */
export interface StreamOptions extends CallOptions {
  /** Begin after this event, as `Last-Event-ID` does. */
  after?: string;
  /** How long a server that is away is asked again, in milliseconds; 60,000 where it is not said. */
  awayMs?: number;
}

const USUAL_AWAY_MS = 60_000;
/** The most between two attempts to reach it. */
const MOST_PAUSE_MS = 5_000;
/** The server sends a comment every ten seconds, so nothing for so long means that it is gone. */
const IDLE_MS = 35_000;

/**
 * Follows a task until it has ended. A connection that breaks is made again where it broke: durable events come once, and text
 * that came before is cut away.
 * @throws SutazaiError when the task cannot be read, or when for `awayMs` no connection brought anything, a ping included; the task goes on
 */
export async function* streamTask<O>(
  transport: Transport,
  id: string,
  { after, signal, timeoutMs, awayMs = USUAL_AWAY_MS }: StreamOptions,
): AsyncGenerator<TaskEvent<O>, void, undefined> {
  const unseen = createTextFilter();
  let last = after;
  let awaySince: number | undefined;
  const heard = () => {
    awaySince = undefined;
  };
  for (let repetition = 0; ; repetition++) {
    const started = Date.now();
    let failure: SutazaiError;
    try {
      const response = await transport.open({
        method: 'GET',
        path: `/api/v1/tasks/${encodeURIComponent(id)}/events`,
        headers: { accept: 'text/event-stream', ...(last === undefined ? {} : { 'last-event-id': last }) },
        signal,
        timeoutMs,
      });
      // After its last event there is nothing more.
      if (response.status === 204) return yield { type: 'completed', task: await readTask<O>(transport, id, signal) };
      for await (const received of eventsOf(bodyOf(response), IDLE_MS, heard)) {
        repetition = 0;
        last = received.id ?? last;
        const event = unseen(readEvent<O>(received));
        if (event) yield event;
        if (event?.type === 'completed') return;
      }
      // It was ended in peace, as by a process that stops: another one goes on.
      failure = new SutazaiError('network_error', `The events of the task ${id} end before the task does.`);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      failure = asFailure(error, id);
      if (!mayHelp(failure)) throw failure;
    }
    awaySince ??= Date.now();
    // The time that a connection was open counts as a pause: one that is cut because it is quiet is made again at once.
    const asked = failure.retryAfterMs ?? 0;
    const pause = Math.max(asked, repetitionMs(repetition, asked, MOST_PAUSE_MS) - (Date.now() - started));
    const left = awayMs - (Date.now() - awaySince);
    if (left <= asked) throw givenUp(failure, id, awayMs, last);
    await sleep(Math.min(pause, left), signal);
  }
}

/** Why it is not followed any longer, and how to go on. What is no word of the server itself is a `network_error`. */
function givenUp(failure: SutazaiError, id: string, awayMs: number, last: string | undefined): SutazaiError {
  const { code, detail, status, requestId, retryAfterMs } = failure;
  const again = last === undefined ? `"${id}"` : `"${id}", { after: "${last}" }`;
  return new SutazaiError(
    code === 'bad_answer' || code === 'request_timeout' ? 'network_error' : code,
    `${detail} No connection brought anything for ${awayMs / 1000} s. The task goes on: tasks.stream(${again}) follows it again.`,
    { status, requestId, retryAfterMs, cause: failure },
  );
}

async function readTask<O>(transport: Transport, id: string, signal: AbortSignal | undefined): Promise<Task<O>> {
  const path = `/api/v1/tasks/${encodeURIComponent(id)}`;
  return (await transport.send<Task<O>>({ method: 'GET', path, signal })).body;
}

function bodyOf({ body, headers, status }: Response): ReadableStream<Uint8Array> {
  const type = headers.get('content-type') ?? '';
  if (!body || !type.startsWith('text/event-stream'))
    throw new SutazaiError('bad_answer', `The answer is ${type || 'of no type'} and not a stream of events.`, {
      status,
    });
  return body;
}

function asFailure(error: unknown, id: string): SutazaiError {
  if (error instanceof SutazaiError) return error;
  return new SutazaiError('network_error', `The events of the task ${id} broke off: ${reasonOf(error)}`, {
    cause: error,
  });
}

function readEvent<O>({ event, data }: ServerEvent): TaskEvent<O> | undefined {
  const content = JSON.parse(data) as Record<string, unknown>;
  if (event === 'completed') return { type: event, task: content as unknown as Task<O> };
  if (event === 'output') return { type: event, ...content } as TaskEvent<O>;
  if (event === 'status' || event === 'progress' || event === 'log' || event === 'step')
    return { type: event, entry: content as unknown as TimelineEvent };
  // A later server may know more kinds.
  return undefined;
}

/** Lets each piece of text through once: after a new connection the server may begin before the place where the last one broke. */
function createTextFilter() {
  let attempt = 0;
  let next = 0;
  return <O>(event: TaskEvent<O> | undefined): TaskEvent<O> | undefined => {
    if (event?.type !== 'output') return event;
    if (event.attempt < attempt) return undefined;
    if (event.attempt > attempt) [attempt, next] = [event.attempt, 0];
    const known = Math.max(0, next - event.offset);
    next = Math.max(next, event.offset + event.text.length);
    if (known >= event.text.length) return undefined;
    return { ...event, offset: event.offset + known, text: event.text.slice(known) };
  };
}

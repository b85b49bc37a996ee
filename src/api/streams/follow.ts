import type { TaskRow } from '../../db/tasks/read.ts';
import type { TimelineRow } from '../../db/tasks/timeline.ts';
import type { Logger } from '../../log.ts';
import type { Principal, RouteAnswer, RouteInput } from '../route.ts';
import { showTask } from '../routes/task-access.ts';
import type { ReadEvents } from './events.ts';
import type { OpenStream, OpenStreams } from './open-streams.ts';
import { encodeEvent, SSE_HEADERS, sseBody } from './sse.ts';

type Reader = Pick<RouteInput<unknown, unknown>, 'principal' | 'base' | 'stillGood' | 'hangUp'>;

/**
 * Answers with the events of a task until it has ended, as this reader may see them.
 * @param how.stream where one was opened already
 * @throws ProblemError where too many streams are open
 */
export type Follow = (
  task: Pick<TaskRow, 'id' | 'user_id'>,
  reader: Reader,
  how: { after: string | null; stream?: OpenStream },
) => RouteAnswer;

interface Options {
  readEvents: ReadEvents;
  streams: OpenStreams;
  log: Logger;
}

const PING_MS = 10_000;

/** Makes it. */
export function createFollow({ readEvents, streams, log }: Options): Follow {
  return (task, reader, { after, stream = streams.enter(reader) }) => {
    const { principal, base } = reader;
    const text = mayRead(task, principal);
    const kind = `${text} ${base}`;
    const events = readEvents(task.id, { after, text, idleMs: PING_MS, signal: stream.signal });
    const body = sseBody({
      events,
      stream,
      encode: (event) =>
        encodeOnce(event.data, kind, () => {
          if (event.event === 'output') return encodeEvent('output', event.data);
          if (event.event === 'completed')
            return encodeEvent('completed', showTask(event.data, { principal, base }), event.id);
          const shown = showEvent(event.data, task, principal);
          return shown && encodeEvent(event.event, shown, event.id);
        }),
      onError: (error) => log.error({ err: error, task_id: task.id }, 'an event stream broke off'),
    });
    return { status: 200, stream: body, headers: SSE_HEADERS };
  };
}

const mayRead = (task: Pick<TaskRow, 'user_id'>, principal: Principal) =>
  task.user_id === principal.userId || principal.can('payloads:read');

/** An event as this principal may see it; what a task says of itself is its owner's; whom its webhooks call or do not reach, its owner's who may see webhooks. */
export function showEvent(
  { id, at, type, status, attempt, data }: TimelineRow,
  task: Pick<TaskRow, 'user_id'>,
  principal: Principal,
) {
  const whole = mayRead(task, principal);
  if (type === 'log' && !whole) return undefined;
  const { url, failure, ...rest } = data;
  const owners = { ...(url === undefined ? {} : { url }), ...(failure === undefined ? {} : { failure }) };
  return { id, at, type, status, attempt, ...rest, ...(whole && principal.can('webhooks:read') ? owners : {}) };
}

/** The events of those who read the same, encoded once for all: a task may be large, and its readers many. */
const encoded = new WeakMap<object, Map<string, Uint8Array | undefined>>();

function encodeOnce(of: object, reader: string, encode: () => string | undefined): Uint8Array | undefined {
  const made = encoded.get(of) ?? new Map<string, Uint8Array | undefined>();
  encoded.set(of, made);
  if (!made.has(reader)) {
    const text = encode();
    made.set(reader, text === undefined ? undefined : new TextEncoder().encode(text));
  }
  return made.get(reader);
}

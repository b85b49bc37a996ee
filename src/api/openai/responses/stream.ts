import type { Db } from '../../../db/connect.ts';
import { findTask, type TaskRow } from '../../../db/tasks/read.ts';
import type { Logger } from '../../../log.ts';
import { replayed } from '../../idempotency.ts';
import type { RouteAnswer, RouteInput } from '../../route.ts';
import type { ReadEvents } from '../../streams/events.ts';
import type { OpenStream, OpenStreams } from '../../streams/open-streams.ts';
import { SSE_HEADERS, streamBody } from '../../streams/sse.ts';
import { type Calls, GONE, type MakeCall } from '../calls.ts';
import { endedBy, reasonOf } from '../stream-end.ts';
import { encodeSent, eventsOf, type Sent } from './events.ts';

/** What streams of responses are made from. */
export interface StreamParts {
  db: Db;
  calls: Calls;
  readEvents: ReadEvents;
  streams: OpenStreams;
  log: Logger;
}

type Asked = RouteInput<unknown, unknown>;

const PING_MS = 10_000;

/** Makes the streams of responses. */
export function createResponseStreams({ db, calls, readEvents, streams, log }: StreamParts) {
  /** @param own whether the response is not wanted any more when its reader does not get it whole */
  function follow(task: TaskRow, stream: OpenStream, asked: Asked, own: boolean, after?: number): RouteAnswer {
    const events = readEvents(task.id, { after: null, text: true, idleMs: PING_MS, signal: stream.signal });
    const sent = eventsOf(events, {
      after,
      read: () => findTask(db, 'any', task.id),
      // In the background it goes on without the server: its stream ends in silence, and is gone on with at another.
      broken: () => (own || stream.endReason() === 'unauthorized' ? endedBy(stream, asked.signal) : undefined),
    });
    const giveUp = async () => {
      if (own) await calls.cancel(task, asked, reasonOf(stream));
    };
    asked.signal.addEventListener('abort', stream.leave, { once: true });
    asked.holdOpen();
    const body = streamBody({
      stream,
      async next() {
        const one: Sent = (await sent.next()).value ?? { is: 'end' };
        if (one.is === 'idle') await stream.check();
        const failed = one.is === 'event' && one.data.type === 'error';
        // Before the reader hears of it: it may send the same request again.
        if (failed) await giveUp();
        return { chunk: encodeSent(one), done: one.is === 'end' || failed };
      },
      async close(cancelled) {
        await sent.return();
        if (cancelled && own) await calls.cancel(task, asked, GONE);
      },
      onError(error) {
        log.error({ err: error, task_id: task.id }, 'the stream of a response broke off');
        void giveUp();
      },
    });
    return { status: 200, stream: body, headers: { ...SSE_HEADERS, 'X-Task-Id': task.id } };
  }

  return {
    /** Submits a response and follows it. */
    async begin(call: MakeCall, asked: Asked, own: boolean): Promise<RouteAnswer> {
      // Before the task: who may open no stream makes none.
      const stream = streams.enter(asked);
      try {
        const { task, again } = await calls.submit(call, asked, true);
        // With a key it goes on without its reader, who comes for it with the same request.
        const answer = follow(task, stream, asked, own && !asked.key);
        return again ? replayed(answer) : answer;
      } catch (error) {
        stream.leave();
        throw error;
      }
    },
    /** Follows a response from an event on. */
    resume(task: TaskRow, asked: Asked, after: number | undefined): RouteAnswer {
      return follow(task, streams.enter(asked), asked, false, after);
    },
  };
}

import { PROBLEMS, type ProblemCode } from '../../errors.ts';
import type { TaskEvent } from './events.ts';
import type { OpenStream } from './open-streams.ts';

/** Headers of an event stream (https://html.spec.whatwg.org/multipage/server-sent-events.html); nothing on the way may hold it back. */
export const SSE_HEADERS = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
};

/** After how long a browser connects again, in ms; sooner where another process takes over. */
const RETRY_MS = 2_000;
const RETRY_SOON_MS = 500;

const CUTS: Record<'slow' | 'gone' | 'unauthorized', { code: ProblemCode; detail: string }> = {
  slow: {
    code: 'quota-exceeded',
    detail: 'The text is made faster than it is read here. Connect again: it comes from its beginning.',
  },
  gone: { code: 'not_found', detail: 'The task was deleted.' },
  unauthorized: { code: 'invalid_token', detail: 'The token, the API key or its session is not good any more.' },
};

/** One event as it is sent. The data is one line of JSON. */
export function encodeEvent(name: string, data: unknown, id?: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

function cut(why: keyof typeof CUTS): string {
  const { code, detail } = CUTS[why];
  return encodeEvent('problem', { title: PROBLEMS[code].title, code, detail });
}

/** What is sent next, and whether nothing comes after it. */
export interface NextPart {
  chunk?: string | Uint8Array;
  done?: boolean;
}

interface BodyOptions {
  /** Makes the next part; asked when the socket has taken the last one, so a slow reader holds one back and no more. */
  next: () => Promise<NextPart>;
  stream: OpenStream;
  /** Nothing more is read: all was sent, or the reader went away, which `cancelled` says. */
  close: (cancelled: boolean) => Promise<unknown>;
  onError: (error: unknown) => void;
}

/** The body of an answer that is made while it is sent. */
export function streamBody({ next, stream, close, onError }: BodyOptions): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let cancelled = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        stream.handed(false);
        try {
          for (;;) {
            const { chunk, done } = await next();
            if (cancelled) return;
            if (chunk) controller.enqueue(typeof chunk === 'string' ? encoder.encode(chunk) : chunk);
            if (done) {
              stream.leave();
              controller.close();
              await close(false);
            } else if (!chunk) continue;
            else stream.handed(true);
            return;
          }
        } catch (error) {
          stream.leave();
          if (cancelled) return;
          onError(error);
          controller.close();
          await close(false).catch(onError);
        }
      },
      async cancel() {
        cancelled = true;
        stream.leave();
        await close(true);
      },
    },
    { highWaterMark: 0 },
  );
}

interface Options {
  events: AsyncGenerator<TaskEvent, void>;
  stream: OpenStream;
  /** What an event is to this reader; `undefined` for nothing. */
  encode: (event: Exclude<TaskEvent, { event: 'idle' | 'cut' }>) => string | Uint8Array | undefined;
  onError: (error: unknown) => void;
}

/** The body of an answer that sends the events of a task. */
export function sseBody({ events, stream, encode, onError }: Options): ReadableStream<Uint8Array> {
  let greeted = false;

  async function next(): Promise<NextPart> {
    if (!greeted) {
      greeted = true;
      return { chunk: `retry: ${RETRY_MS}\n\n` };
    }
    const { value, done } = await events.next();
    if (done || !value) {
      if (stream.endReason() === 'unauthorized') return { chunk: cut('unauthorized'), done: true };
      return { chunk: `retry: ${RETRY_SOON_MS}\n: the server stops; connect again\n\n`, done: true };
    }
    if (value.event === 'idle') {
      // What has run out by itself is told by nobody.
      await stream.check();
      return { chunk: ': ping\n\n' };
    }
    if (value.event === 'cut') return { chunk: cut(value.why), done: true };
    return { chunk: encode(value), done: value.event === 'completed' };
  }

  return streamBody({ next, stream, close: () => events.return(), onError });
}

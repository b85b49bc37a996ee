import type { ServerResponse } from 'node:http';
import { createParser } from 'eventsource-parser';
import type { PresentedTask } from '../../src/tasks/present.ts';
import type { Script } from './fake-ollama.ts';
import { until } from './until.ts';

/** One event as a client sees it. */
export interface SeenEvent {
  event: string;
  id: string | undefined;
  data: Record<string, unknown>;
}

/** A client that reads the events of a task. */
export interface EventReader {
  status: number;
  headers: Headers;
  events: SeenEvent[];
  comments: string[];
  /** What the server said about when to connect again, in ms. */
  retries: number[];
  /** The text of an attempt, put together; fails where a part is missing or comes twice. */
  text(attempt?: number): string;
  named(event: string): SeenEvent[];
  /** Waits for the next event that fits, or one that has come. */
  until(what: string, test: (event: SeenEvent) => boolean): Promise<SeenEvent>;
  /** Resolves when the server has ended the stream, or it broke off; answers the final task, if it came. */
  ended: Promise<PresentedTask | undefined>;
  close(): void;
}

/** Opens a stream and reads it to its end in the background. @param url whole, or of the API with the id of a task */
export async function readEvents(
  url: string,
  headers: Record<string, string> = {},
  init: RequestInit = {},
): Promise<EventReader> {
  const abort = new AbortController();
  const answer = await fetch(url, { headers, ...init, signal: abort.signal });
  const events: SeenEvent[] = [];
  const comments: string[] = [];
  const retries: number[] = [];
  const parser = createParser({
    onEvent: ({ event = '', id, data }) =>
      events.push({ event, id, data: JSON.parse(data) as Record<string, unknown> }),
    onComment: (comment) => comments.push(comment),
    onRetry: (retry) => retries.push(retry),
  });
  const ended = (async () => {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of answer.body ?? []) parser.feed(decoder.decode(chunk, { stream: true }));
    } catch {
      // Broken off; what came by then counts.
    }
    return events.find(({ event }) => event === 'completed')?.data as PresentedTask | undefined;
  })();
  return {
    status: answer.status,
    headers: answer.headers,
    events,
    comments,
    retries,
    text(attempt = 1) {
      let text = '';
      for (const { data } of events.filter(({ event, data }) => event === 'output' && data.attempt === attempt)) {
        if (data.offset !== text.length) throw new Error(`a part at ${data.offset} follows ${text.length} units`);
        text += data.text as string;
      }
      return text;
    },
    named: (name) => events.filter(({ event }) => event === name),
    until: (what, test) => until(what, () => events.find(test)),
    ended,
    close: () => abort.abort(),
  };
}

/** A model that says what a test tells it to, when it tells it to. */
export interface Speaker {
  script: Script;
  /** Resolves with the nth call, from 0. */
  call(n: number): Promise<Speech>;
}

export interface Speech {
  say(text: string): void;
  finish(): void;
  /** Breaks off with an error that is tried again. */
  fail(): void;
  closedEarly: Promise<boolean>;
}

/** Makes one, to be set as the script of the fake Ollama. */
export function createSpeaker(): Speaker {
  const speeches: Speech[] = [];
  return {
    call: (n) => until(`call ${n} of the model`, () => speeches[n]),
    script({ path, closedEarly }, response) {
      if (path !== '/api/chat' && path !== '/api/generate') return false;
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      const line = (text: string, more: object = { done: false }) =>
        response.write(`${JSON.stringify({ ...pieceOf(path, text), ...more })}\n`);
      speeches.push(speechOf(response, line, closedEarly));
      return true;
    },
  };
}

const pieceOf = (path: string, text: string) =>
  path === '/api/chat' ? { message: { role: 'assistant', content: text } } : { response: text };

function speechOf(
  response: ServerResponse,
  line: (text: string, more?: object) => boolean,
  closedEarly: Promise<boolean>,
): Speech {
  return {
    say: (text) => void line(text),
    finish() {
      line('', { done: true, done_reason: 'stop' });
      response.end();
    },
    fail: () => void response.destroy(),
    closedEarly,
  };
}

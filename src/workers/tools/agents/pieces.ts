import { createParser } from 'eventsource-parser';
import type { BodyListener } from '../../../clients/outbound.ts';
import { TaskError } from '../../../errors.ts';
import { mediaType } from '../../../tasks/http-body.ts';

/** What stands around the pieces of a text, which often are of a word each. */
const WIRE_BYTES = 32;
/** An event that is longer is no piece of a text. */
const MAX_EVENT_CHARACTERS = 1_048_576;

/** How an answer comes that is handed on while it does: as events, as plain text, or not at all. */
export function streamOf(contentType: string | string[] | undefined): 'events' | 'text' | undefined {
  const type = mediaType([contentType ?? ''].flat().join());
  return type === 'text/event-stream' ? 'events' : type === 'text/plain' ? 'text' : undefined;
}

/** Hears the data of each event. @param maxBytes of all data together; there may be more around them */
export function eventListener(maxBytes: number, onData: (data: string) => void): BodyListener {
  const decoder = new TextDecoder();
  const parser = createParser({
    onEvent: ({ data }) => onData(data),
    maxBufferSize: MAX_EVENT_CHARACTERS,
    // What else it finds odd, the standard ignores.
    onError({ type, message }) {
      if (type === 'max-buffer-size-exceeded')
        throw new TaskError('upstream_protocol', `The agent sent an event without an end: ${message}`);
    },
  });
  return {
    maxBytes: maxBytes * WIRE_BYTES,
    hear: (piece) => parser.feed(decoder.decode(piece, { stream: true })),
  };
}

/** Hears plain text. */
export function textListener(maxBytes: number, onText: (text: string) => void): BodyListener {
  const decoder = new TextDecoder();
  return {
    maxBytes,
    hear: (piece) => onText(decoder.decode(piece, { stream: true })),
    // Half a character at the end.
    end: () => onText(decoder.decode()),
  };
}

/** A text that grows, and is handed on as it does. @throws TaskError when it has more bytes than that */
export function createText(
  maxBytes: number,
  live: { add(piece: string): void; end(): void },
): { add(piece: string): void; whole(): string } {
  let text = '';
  let bytes = 0;
  return {
    add(piece) {
      bytes += Buffer.byteLength(piece);
      if (bytes > maxBytes)
        throw new TaskError('output_too_large', `The agent answered more than ${maxBytes} bytes; it was not read on.`);
      text += piece;
      live.add(piece);
    },
    whole() {
      live.end();
      return text;
    },
  };
}

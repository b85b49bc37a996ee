/** One event as it came over the wire. */
export interface ServerEvent {
  event: string;
  data: string;
  /** The last id that the stream has named. */
  id: string | undefined;
}

/** Cuts text, in whatever pieces it comes, into events: the algorithm of https://html.spec.whatwg.org/#event-stream-interpretation */
export function createEventParser(): (piece: string) => ServerEvent[] {
  let rest = '';
  let started = false;
  let event = '';
  let data: string[] = [];
  let id: string | undefined;

  function field(line: string): void {
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'event') event = value;
    else if (name === 'data') data.push(value);
    else if (name === 'id' && !value.includes('\0')) id = value;
  }

  return (piece) => {
    const events: ServerEvent[] = [];
    let text = rest + piece;
    if (!started && text !== '') {
      started = true;
      text = text.replace(/^\uFEFF/, '');
    }
    // A \r at the end may be half of a \r\n.
    for (let end = lineEnd(text); end; end = lineEnd(text)) {
      const line = text.slice(0, end.at);
      text = text.slice(end.next);
      if (line !== '') field(line);
      else {
        if (data.length > 0) events.push({ event: event || 'message', data: data.join('\n'), id });
        event = '';
        data = [];
      }
    }
    rest = text;
    return events;
  };
}

function lineEnd(text: string): { at: number; next: number } | undefined {
  const at = text.search(/[\r\n]/);
  if (at < 0 || (text[at] === '\r' && at === text.length - 1)) return undefined;
  return { at, next: at + (text[at] === '\r' && text[at + 1] === '\n' ? 2 : 1) };
}

/**
 * The events of a body, until it ends or breaks.
 * @param idleMs after so long without a byte the connection counts as dead
 * @param heard is told that something came, a comment too
 */
export async function* eventsOf(
  body: ReadableStream<Uint8Array>,
  idleMs: number,
  heard: () => void = () => {},
): AsyncGenerator<ServerEvent, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const parse = createEventParser();
  try {
    for (;;) {
      const { done, value } = await within(reader.read(), idleMs);
      if (done) return;
      heard();
      yield* parse(decoder.decode(value, { stream: true }));
    }
  } finally {
    // It may wait for a connection that is dead, or fail as the reading did.
    void reader.cancel().catch(() => {});
  }
}

function within<T>(work: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing came for ${ms} ms`)), ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

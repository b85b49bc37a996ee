import type { Dispatcher } from 'undici';
import { traceHeaders } from '../telemetry/tracing.ts';
import { type Exchange, exchange } from './exchange.ts';
import { UpstreamRefusal } from './upstream.ts';

/** One line of a stream; the last of a generation carries the tokens of its whole context. */
const MAX_LINE_BYTES = 4 * 2 ** 20;
/** A whole answer, such as the embeddings of many texts. */
const MAX_ANSWER_BYTES = 128 * 2 ** 20;
const MAX_ERROR_BYTES = 65_536;

/** What the official client uses of an answer. */
type Answer = Pick<Response, 'ok' | 'status' | 'json'> & {
  body: { getReader(): Pick<Reader, 'read' | 'releaseLock'> };
};
type Reader = ReadableStreamDefaultReader<Uint8Array>;

/**
 * What the official client fetches with: it stops with `signal`, what it reads is bounded, refusals carry their status, and
 * a line that is no JSON object or says `error` is thrown. The client would write such lines and refusals to the console,
 * with what users asked in them.
 */
export function createOllamaFetch(dispatcher: Dispatcher, signal: AbortSignal | undefined): typeof fetch {
  async function guardedFetch(
    url: string,
    init: { method?: string; body?: string; headers?: Record<string, string> } = {},
  ): Promise<Answer> {
    const headers = { ...init.headers, ...traceHeaders() };
    const { method, body } = init;
    const answer = await exchange(dispatcher, { url, method, headers, body, signal });
    const { status } = answer;
    if (status >= 300) throw new UpstreamRefusal(await readError(answer), status, answer.header('retry-after'));
    const whole = answer.header('content-type')?.startsWith('application/json');
    const parts = whole ? capped(answer) : checkedLines(answer);
    return {
      ok: true,
      status,
      body: {
        getReader: () => ({
          async read() {
            const { done, value } = await parts.next();
            return done ? { done: true, value: undefined } : { done: false, value };
          },
          releaseLock() {},
        }),
      },
      async json() {
        const all: Uint8Array[] = [];
        for await (const part of parts) all.push(part);
        return JSON.parse(Buffer.concat(all).toString());
      },
    };
  }
  return guardedFetch as unknown as typeof fetch;
}

/** The text of `{"error": text}`, or the beginning of whatever else was answered. */
async function readError(answer: Exchange): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for (let part = await answer.read(); part; part = await answer.read()) {
    text += decoder.decode(part, { stream: true });
    if (text.length > MAX_ERROR_BYTES) break;
  }
  answer.cancel();
  const json = parseObject(text);
  return json && 'error' in json ? errorText(json.error) : text || 'no reason given';
}

function errorText(error: unknown): string {
  return typeof error === 'string' ? error : JSON.stringify(error);
}

async function* capped(answer: Exchange): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  try {
    for (let part = await answer.read(); part; part = await answer.read()) {
      bytes += part.length;
      if (bytes > MAX_ANSWER_BYTES) throw new UpstreamRefusal(`the answer has more than ${MAX_ANSWER_BYTES} bytes`);
      yield part;
    }
  } finally {
    answer.cancel();
  }
}

async function* checkedLines(answer: Exchange): AsyncGenerator<Uint8Array> {
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (let part = await answer.read(); part; part = await answer.read()) {
      const text = decoder.decode(part, { stream: true });
      const end = text.lastIndexOf('\n') + 1;
      if (end > 0) yield checked(rest + text.slice(0, end));
      rest = end > 0 ? text.slice(end) : rest + text;
      if (rest.length > MAX_LINE_BYTES) throw new UpstreamRefusal(`a line has more than ${MAX_LINE_BYTES} bytes`);
    }
    yield checked(rest);
  } finally {
    answer.cancel();
  }
}

/** The same lines without the empty ones. */
function checked(lines: string): Uint8Array {
  const whole = lines.split('\n').filter((line) => line.trim() !== '');
  for (const line of whole) check(line);
  return new TextEncoder().encode(whole.map((line) => `${line}\n`).join(''));
}

function check(line: string): void {
  const json = parseObject(line);
  if (!json) throw new UpstreamRefusal('it sent something else than JSON');
  if ('error' in json) throw new UpstreamRefusal(errorText(json.error));
}

function parseObject(text: string): object | undefined {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === 'object' && json !== null ? json : undefined;
  } catch {
    return undefined;
  }
}

import { ReadableStream } from 'node:stream/web';
import { type Dispatcher, Response, fetch as undiciFetch } from 'undici';
import { traceHeaders } from '../telemetry/tracing.ts';
import { UpstreamRefusal } from './upstream.ts';

/** One line of a stream; the last of a generation carries the tokens of its whole context. */
const MAX_LINE_BYTES = 4 * 2 ** 20;
/** A whole answer, such as the embeddings of many texts. */
const MAX_ANSWER_BYTES = 128 * 2 ** 20;
const MAX_ERROR_BYTES = 65_536;

/**
 * What the official client fetches with: it stops with `signal`, what it reads is bounded, refusals carry their status, and
 * a line that is no JSON object or says `error` is thrown. The client would write such lines and refusals to the console,
 * with what users asked in them.
 */
export function createOllamaFetch(dispatcher: Dispatcher, signal: AbortSignal | undefined): typeof fetch {
  async function guardedFetch(
    input: string,
    init: { signal?: AbortSignal | null; headers?: Record<string, string> } = {},
  ): Promise<Response> {
    const signals = [signal, init.signal].filter((one) => one !== undefined && one !== null);
    const headers = { ...init.headers, ...traceHeaders() };
    const answer = await undiciFetch(input, { ...init, headers, dispatcher, signal: AbortSignal.any(signals) });
    const { status, headers: sent } = answer;
    const body = (answer.body ?? []) as AsyncIterable<Uint8Array>;
    if (!answer.ok) throw new UpstreamRefusal(await readError(body), status, sent.get('retry-after'));
    const whole = sent.get('content-type')?.startsWith('application/json');
    return new Response(ReadableStream.from(whole ? capped(body) : checkedLines(body)), { status, headers: sent });
  }
  return guardedFetch as unknown as typeof fetch;
}

/** The text of `{"error": text}`, or the beginning of whatever else was answered. */
async function readError(body: AsyncIterable<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MAX_ERROR_BYTES) break;
  }
  const json = parseObject(text);
  return json && 'error' in json ? errorText(json.error) : text || 'no reason given';
}

function errorText(error: unknown): string {
  return typeof error === 'string' ? error : JSON.stringify(error);
}

async function* capped(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new UpstreamRefusal(`the answer has more than ${MAX_ANSWER_BYTES} bytes`);
    yield chunk;
  }
}

async function* checkedLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const text = decoder.decode(chunk, { stream: true });
    const end = text.lastIndexOf('\n') + 1;
    if (end > 0) yield checked(rest + text.slice(0, end));
    rest = end > 0 ? text.slice(end) : rest + text;
    if (rest.length > MAX_LINE_BYTES) throw new UpstreamRefusal(`a line has more than ${MAX_LINE_BYTES} bytes`);
  }
  yield checked(rest);
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

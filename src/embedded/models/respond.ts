import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { messageOf, statusOf } from './errors.ts';

/** A signal that aborts when the client of a request goes, when the server closes, or when `stop` is called. */
export type Cancellation = { signal: AbortSignal; stop: () => void };

/** Answers with Ollama's `{"error": text}`. */
export function respondError(c: Context, error: unknown): Response {
  return c.json({ error: messageOf(error) }, statusOf(error) as ContentfulStatusCode);
}

/**
 * Streams one JSON object a line. The first is computed before anything is sent, so that an error until then has its
 * own status; a later error becomes a last line under 200.
 * `lines` is ended when the client goes away, whether it had begun to read or not.
 */
export async function respondLines(lines: AsyncGenerator<object>, { signal, stop }: Cancellation): Promise<Response> {
  const encoder = new TextEncoder();
  let next: Promise<IteratorResult<object>> | undefined = Promise.resolve(await lines.next());
  // A client that goes before the body is first read never cancels it, and the model's slot would stay taken.
  const end = () => void lines.return(undefined).catch(() => undefined);
  if (signal.aborted) end();
  else signal.addEventListener('abort', end, { once: true });
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { value, done } = await (next ?? lines.next());
        next = undefined;
        if (done) controller.close();
        else controller.enqueue(encoder.encode(`${JSON.stringify(value)}\n`));
      } catch (error) {
        controller.enqueue(encoder.encode(`${JSON.stringify({ error: messageOf(error) })}\n`));
        controller.close();
      }
    },
    cancel: stop,
  });
  return new Response(body, { headers: { 'content-type': 'application/x-ndjson' } });
}

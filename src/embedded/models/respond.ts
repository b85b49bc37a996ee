import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { messageOf, statusOf } from './errors.ts';

/** Answers with Ollama's `{"error": text}`. */
export function respondError(c: Context, error: unknown): Response {
  return c.json({ error: messageOf(error) }, statusOf(error) as ContentfulStatusCode);
}

/**
 * Streams one JSON object a line. The first is computed before anything is sent, so that an error until then has its
 * own status; a later error becomes a last line under 200.
 * @param stop called when the client goes away
 */
export async function respondLines(lines: AsyncGenerator<object>, stop: () => void): Promise<Response> {
  const encoder = new TextEncoder();
  let next: Promise<IteratorResult<object>> | undefined = Promise.resolve(await lines.next());
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
    async cancel() {
      stop();
      await lines.return(undefined);
    },
  });
  return new Response(body, { headers: { 'content-type': 'application/x-ndjson' } });
}

import { type Context, Hono } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import { rateHeaders } from './limits/rates.ts';
import type { Env } from './request.ts';

/** What keeps browsers from doing anything with an answer that is not meant; found out once, because it is the same for all. */
const SECURITY = Object.fromEntries(
  (
    await new Hono()
      .use(secureHeaders({ crossOriginResourcePolicy: 'same-origin', referrerPolicy: 'no-referrer' }))
      .get('/', (c) => c.body(null))
      .request('/')
  ).headers,
);

/** The headers that every answer to this request has. */
function commonHeaders(c: Context<Env>): Record<string, string> {
  const rate = c.get('rate');
  return { ...SECURITY, 'X-Request-Id': c.get('requestId'), ...(rate && Object.fromEntries(rateHeaders(rate))) };
}

/** An answer of ours, whole at once: a header that is set afterwards costs as much as all the rest of it. */
export function makeAnswer(
  c: Context<Env>,
  body: ConstructorParameters<typeof Response>[0],
  { status, headers }: { status: number; headers?: Record<string, string> },
): Response {
  c.set('isWhole', true);
  return new Response(body, { status, headers: { ...headers, ...commonHeaders(c) } });
}

/** Gives an answer that was made elsewhere the headers that every answer has. */
export function completeAnswer(c: Context<Env>): void {
  // Not by `c.header`, which takes the answer apart each time.
  if (!c.get('isWhole')) for (const [name, value] of Object.entries(commonHeaders(c))) c.res.headers.set(name, value);
}

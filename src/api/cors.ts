import type { MiddlewareHandler } from 'hono';
import type { Env } from './request.ts';

/** What a page may do; kong.yml says the same. */
export const METHODS = 'GET, POST, PATCH, DELETE';
/** What OpenAI's clients say of themselves with each request. */
const STAINLESS = ['Lang', 'Package-Version', 'OS', 'Arch', 'Runtime', 'Runtime-Version', 'Retry-Count', 'Timeout'];
/** What a page may send; kong.yml says the same. */
export const SENT = [
  'Authorization, Content-Type, X-API-Key, X-Request-Id, Idempotency-Key, Prefer, Cancel-After, If-None-Match, Last-Event-ID',
  ...STAINLESS.map((name) => `X-Stainless-${name}`),
  'X-Stainless-Helper-Method, OpenAI-Organization, OpenAI-Project, OpenAI-Beta',
].join(', ');
/** What a page may read; kong.yml says the same. */
export const READ =
  'Location, ETag, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, Preference-Applied, Idempotency-Replayed, WWW-Authenticate, X-Task-Id, X-Should-Retry';
const MAX_AGE_SECONDS = '600';

/** The dashboard is for its own pages alone. */
const isOurs = (path: string) => path === '/admin' || path.startsWith('/admin/');

/**
 * Lets pages of these origins, spelled exactly so, read what the API answers (https://fetch.spec.whatwg.org/#http-cors-protocol).
 * What a browser asks beforehand is answered alike for every path and without a token, so that it tells nothing of what is there.
 * Cookies play no part: a page has to have a token.
 */
export function allowOrigins(origins: readonly string[]): MiddlewareHandler<Env> {
  const allowed = new Set(origins);

  return async (c, next) => {
    const origin = c.req.header('origin');
    if (isOurs(c.req.path)) return next();
    const known = origin !== undefined && allowed.has(origin);
    if (known && c.req.method === 'OPTIONS' && c.req.header('access-control-request-method') !== undefined) {
      c.header('Access-Control-Allow-Origin', origin);
      c.header('Access-Control-Allow-Methods', METHODS);
      c.header('Access-Control-Allow-Headers', SENT);
      c.header('Access-Control-Max-Age', MAX_AGE_SECONDS);
      c.header('Vary', 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers');
      return c.body(null, 204);
    }
    await next();
    // Caches must not give the answer for one origin to another.
    c.res.headers.append('Vary', 'Origin');
    if (!known) return;
    c.res.headers.set('Access-Control-Allow-Origin', origin);
    c.res.headers.set('Access-Control-Expose-Headers', READ);
  };
}

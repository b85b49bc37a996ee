import { randomUUID } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { secureHeaders } from 'hono/secure-headers';
import { ProblemError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Audit } from './audit.ts';
import { authenticate, authorize, NOBODY } from './auth/guard.ts';
import type { Principals } from './auth/principals.ts';
import { type ClientAddresses, createClientAddresses } from './client-address.ts';
import { allowOrigins } from './cors.ts';
import type { Idempotency } from './idempotency.ts';
import { type Limits, refuseBeyond } from './limits/index.ts';
import { rateHeaders } from './limits/rates.ts';
import { POLICIES, type Policy } from './policy.ts';
import { problemOf } from './problem.ts';
import { baseOf, type Env, peerOf, readInput } from './request.ts';
import { type Route, type RouteAnswer, type RouteInput, routeKey } from './route.ts';

export type App = Hono<Env>;

interface Options {
  routes: Route[];
  principals: Principals;
  audit: Audit;
  idempotency: Idempotency;
  limits: Pick<Limits, 'request' | 'attempt'>;
  publicUrl: string | undefined;
  /** Whom requests come from; the peer of the socket when not given. */
  addresses?: ClientAddresses;
  /** The origins of pages that may read what is answered. */
  origins?: readonly string[];
  maxBodyBytes: number;
  /** Apps with a guard of their own, by path. */
  mounts?: Array<{ path: string; app: App }>;
  log: Logger;
  policies?: Record<string, Policy>;
  /** Whether the pages of the documentation open without a token. */
  docsOpen?: boolean;
}

const REQUEST_ID = /^[A-Za-z0-9_-]{8,64}$/;

/**
 * Builds the HTTP layer from the routes.
 * @throws Error when a route has no policy or a policy has no route, naming the line to mend
 */
export function createApp({
  routes,
  principals,
  audit,
  limits,
  idempotency,
  publicUrl,
  addresses = createClientAddresses([]),
  origins = [],
  maxBodyBytes,
  mounts = [],
  log,
  policies = POLICIES,
  docsOpen = false,
}: Options): App {
  checkPolicies(routes, policies);
  const app: App = new Hono<Env>();

  app.use(async (c, next) => {
    const given = c.req.header('x-request-id') ?? '';
    const requestId = REQUEST_ID.test(given) ? given : randomUUID();
    c.set('requestId', requestId);
    c.set('address', addresses(peerOf(c), c.req.header('x-forwarded-for')) ?? null);
    const started = performance.now();
    await next();
    c.header('X-Request-Id', requestId);
    const rate = c.get('rate');
    if (rate) for (const [name, value] of rateHeaders(rate)) c.header(name, value);
    log.info(
      {
        request_id: requestId,
        method: c.req.method,
        path: c.req.path,
        status: c.res.status,
        ms: Math.round(performance.now() - started),
      },
      'request',
    );
  });
  if (origins.length > 0) app.use(allowOrigins(origins));
  app.use(secureHeaders({ crossOriginResourcePolicy: 'same-origin', referrerPolicy: 'no-referrer' }));
  app.use(
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: () => {
        throw new ProblemError(
          'body_too_large',
          `The body has more than ${maxBodyBytes} bytes. Split the request, or ask an operator to raise MAX_BODY_BYTES.`,
          { headers: { Connection: 'close' } },
        );
      },
    }),
  );
  const occurrence = (c: Context<Env>) => ({
    instance: c.req.path,
    requestId: c.get('requestId'),
    base: baseOf(c, publicUrl),
  });
  app.onError((error, c) => problemOf(error, occurrence(c), log));

  for (const route of routes) {
    const policy = policies[routeKey(route)] as Policy;
    app.on(route.method, [route.path], async (c) => {
      const asked = policy === 'docs' && docsOpen ? 'public' : policy;
      const principal = asked === 'public' ? NOBODY : await authenticate(c, route, principals);
      const trail = audit.trail({
        actor: principal === NOBODY ? undefined : principal,
        address: c.get('address'),
        requestId: c.get('requestId'),
      });
      if (route.limited || asked !== 'public') {
        const rate = route.limited ? await limits.attempt(c.get('address')) : limits.request(principal.userId);
        c.set('rate', rate);
        refuseBeyond(rate);
      }
      if (asked !== 'public') authorize(route, principal, asked, trail);
      const read = await readInput(c, route, principal, publicUrl);
      const key = route.idempotent && idempotency.useOf(c.req, principal, read.json);
      const work = () => call(route, { ...read.input, key, trail });
      return respond(await (route.idempotent === 'answer' && key ? idempotency.once(key, work) : work()));
    });
  }
  for (const { path, app: mounted } of mounts) app.route(path, mounted);

  app.notFound((c) => {
    const methods = routes.filter(({ path }) => matches(path, c.req.path)).map(({ method }) => method);
    const error =
      methods.length > 0
        ? new ProblemError('method_not_allowed', `This path knows ${methods.join(', ')}.`, {
            headers: { Allow: methods.join(', ') },
          })
        : new ProblemError('not_found', 'There is no such path.');
    return problemOf(error, occurrence(c), log);
  });
  return app;
}

function checkPolicies(routes: Route[], policies: Record<string, Policy>): void {
  const keys = new Set(routes.map(routeKey));
  if (keys.size !== routes.length) throw new Error('two routes have the same method and path');
  for (const key of keys)
    if (!(key in policies))
      throw new Error(`the route ${key} has no policy: add a line for it to POLICIES in src/api/policy.ts`);
  for (const route of routes)
    if (route.idempotent && policies[routeKey(route)] === 'public')
      throw new Error(`the route ${routeKey(route)} is public, so nobody owns its keys: take idempotent out of it`);
  for (const key of Object.keys(policies))
    if (!keys.has(key))
      throw new Error(`the policy of ${key} has no route: take its line out of POLICIES in src/api/policy.ts`);
}

function respond({ status, body, html, headers }: RouteAnswer): Response {
  if (html !== undefined)
    return new Response(html, { status, headers: { 'Content-Type': 'text/html; charset=utf-8', ...headers } });
  if (body === undefined) return new Response(null, { status, headers });
  return new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json', ...headers } });
}

async function call(route: Route, input: RouteInput<unknown, unknown>): Promise<RouteAnswer> {
  try {
    return await route.handle(input);
  } catch (error) {
    // Hono hands nothing but Errors to onError.
    throw error instanceof Error ? error : new Error('something that is no Error was thrown', { cause: error });
  }
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const given = path.split('/');
  return wanted.length === given.length && wanted.every((part, index) => part.startsWith(':') || part === given[index]);
}

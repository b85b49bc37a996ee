import { randomUUID } from 'node:crypto';
import { getConnInfo } from '@hono/node-server/conninfo';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { secureHeaders } from 'hono/secure-headers';
import { ProblemError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Identity } from './auth/identity.ts';
import { POLICIES, type Policy } from './policy.ts';
import { problemOf } from './problem.ts';
import { type Principal, type Route, type RouteAnswer, type RouteInput, routeKey } from './route.ts';
import { invalid, parseBody, parseJson, parseQuery } from './validate.ts';

type Env = { Variables: { requestId: string } };
export type App = Hono<Env>;

interface Options {
  routes: Route[];
  identity: Identity;
  publicUrl: string | undefined;
  maxBodyBytes: number;
  /** Apps with a guard of their own, by path. */
  mounts?: Array<{ path: string; app: Hono }>;
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
  identity,
  publicUrl,
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
    const started = performance.now();
    await next();
    c.header('X-Request-Id', requestId);
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
      const principal = await authorize(c, policy === 'docs' && docsOpen ? 'public' : policy, identity);
      const input = await readInput(c, route, principal, publicUrl);
      return respond(await call(route, input));
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

const NOBODY: Principal = { userId: '', username: '', role: '', sessionId: '', can: () => false };

async function authorize(c: Context<Env>, policy: Policy, identity: Identity): Promise<Principal> {
  if (policy === 'public') return NOBODY;
  const [, scheme, token] = /^(\S+) +(\S+)$/.exec(c.req.header('authorization') ?? '') ?? [];
  if (!scheme || !token)
    throw unauthorized(
      'unauthorized',
      'Send the header `Authorization: Bearer <access token>`; POST /api/v1/auth/login gives one.',
    );
  const principal = scheme.toLowerCase() === 'bearer' ? await identity.principal(token) : undefined;
  if (!principal) throw unauthorized('invalid_token', 'The access token is not good: refresh it, or log in again.');
  const permission = policy === 'docs' ? 'self:read' : policy;
  if (!principal.can(permission))
    throw new ProblemError(
      'forbidden',
      `Your role ${principal.role} may not do this; it wants the permission ${permission}.`,
    );
  return principal;
}

/** RFC 6750, 3: no error code where no token was sent at all. */
function unauthorized(code: 'unauthorized' | 'invalid_token', detail: string): ProblemError {
  const challenge =
    code === 'invalid_token' ? 'Bearer realm="sutazai", error="invalid_token"' : 'Bearer realm="sutazai"';
  return new ProblemError(code, detail, { headers: { 'WWW-Authenticate': challenge } });
}

async function readInput(
  c: Context<Env>,
  route: Route,
  principal: Principal,
  publicUrl: string | undefined,
): Promise<RouteInput<unknown, unknown>> {
  return {
    body: route.body ? parseBody(route.body, await readJson(c)) : await refuseBody(c),
    query: route.query ? parseQuery(route.query, c.req.query()) : undefined,
    params: c.req.param() as Record<string, string>,
    principal,
    requestId: c.get('requestId'),
    base: baseOf(c, publicUrl),
    address: remoteAddress(c),
    header: (name) => c.req.header(name),
    signal: c.req.raw.signal,
  };
}

/** A route that takes nothing says so, instead of letting what was sent fall away without a word. */
async function refuseBody(c: Context<Env>): Promise<undefined> {
  if (c.req.method === 'GET') return;
  const text = (await c.req.text()).trim();
  if (text !== '' && text !== '{}')
    throw invalid([{ detail: 'must be empty: this route takes no body', pointer: '#' }]);
}

async function readJson(c: Context<Env>): Promise<unknown> {
  const type = c.req.header('content-type') ?? '';
  const encoding = c.req.header('content-encoding') ?? 'identity';
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(type)?.[1] ?? 'utf-8';
  if (!/^application\/([\w.+-]+\+)?json\b/i.test(type) || !/^utf-?8$/i.test(charset) || encoding !== 'identity') {
    const sent = [type, encoding === 'identity' ? '' : `Content-Encoding: ${encoding}`]
      .filter(Boolean)
      .join(', ')
      .slice(0, 100);
    throw new ProblemError(
      'unsupported_media_type',
      `Send plain JSON in UTF-8 with the header Content-Type: application/json${sent ? `, not ${sent}` : ''}.`,
    );
  }
  return parseJson(decodeUtf8(await c.req.arrayBuffer()));
}

function decodeUtf8(bytes: ArrayBuffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ProblemError('bad_request', 'The body is not UTF-8.');
  }
}

/** The address of the API as this client knows it, without a slash at the end. */
function baseOf(c: Context<Env>, publicUrl: string | undefined): string {
  return publicUrl ?? new URL(c.req.url).origin;
}

function remoteAddress(c: Context<Env>): string | null {
  // Not every way to call the app has a socket below it.
  return c.env && 'incoming' in (c.env as object) ? (getConnInfo(c).remote.address ?? null) : null;
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const given = path.split('/');
  return wanted.length === given.length && wanted.every((part, index) => part.startsWith(':') || part === given[index]);
}

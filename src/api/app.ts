import { randomUUID } from 'node:crypto';
import { type Context, Hono, type MiddlewareHandler, type Next } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { ProblemError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { metrics } from '../telemetry/metrics.ts';
import type { Audit } from './audit.ts';
import { authenticate, authorize, NOBODY } from './auth/guard.ts';
import type { Principals } from './auth/principals.ts';
import { type ClientAddresses, createClientAddresses } from './client-address.ts';
import { allowOrigins } from './cors.ts';
import { completeAnswer, makeAnswer } from './headers.ts';
import type { Idempotency } from './idempotency.ts';
import { type Limits, refuseBeyond } from './limits/index.ts';
import { answersOf, createOtherAnswers } from './measure.ts';
import { POLICIES, type Policy } from './policy.ts';
import { problemOf } from './problem.ts';
import { baseOf, bringsForm, type Env, peerOf, readInput } from './request.ts';
import { type Principal, type Route, type RouteAnswer, type RouteInput, routeKey } from './route.ts';
import { traceRequest, withoutCredential } from './tracing.ts';

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
  const otherAnswers = createOtherAnswers(mounts.map(({ path }) => path));

  const observe = async (c: Context<Env>, next: Next) => {
    const given = c.req.header('x-request-id') ?? '';
    const requestId = REQUEST_ID.test(given) ? given : randomUUID();
    c.set('requestId', requestId);
    c.set('address', addresses(peerOf(c), c.req.header('x-forwarded-for')) ?? null);
    const started = performance.now();
    metrics.httpInFlight.inc();
    await next();
    metrics.httpInFlight.dec();
    const ms = performance.now() - started;
    (c.get('answered') ?? otherAnswers(c.req.method, c.req.path)).count(c.res.status, ms);
    completeAnswer(c);
    log.info(
      {
        request_id: requestId,
        method: c.req.method,
        path: withoutCredential(c.req.path),
        status: c.res.status,
        ms: Math.round(ms),
      },
      'request',
    );
  };
  app.use((c, next) => traceRequest(c, () => observe(c, next)));
  if (origins.length > 0) app.use(allowOrigins(origins));
  const tooLarge = () => {
    throw new ProblemError(
      'body_too_large',
      `The body has more than ${maxBodyBytes} bytes. Split the request, or ask an operator to raise MAX_BODY_BYTES.`,
      { headers: { Connection: 'close' } },
    );
  };
  const limitUnknown = bodyLimit({ maxSize: maxBodyBytes, onError: tooLarge });
  const limitBody: MiddlewareHandler<Env> = (c, next) => {
    if (c.req.method === 'GET' || c.req.method === 'HEAD') return next();
    const length = c.req.header('content-length');
    // The server reads no more than this. Only what does not say how long it is has to be read to know.
    if (length === undefined || c.req.header('transfer-encoding') !== undefined) return limitUnknown(c, next);
    return Number(length) > maxBodyBytes ? tooLarge() : next();
  };
  const takeForms = routes.filter(({ upload }) => upload);
  app.use((c, next) => {
    const form = takeForms.some((route) => bringsForm(c, route) && isFor(c, route));
    return form ? next() : limitBody(c, next);
  });
  const occurrence = (c: Context<Env>) => ({
    instance: c.req.path,
    requestId: c.get('requestId'),
    base: baseOf(c, publicUrl),
  });
  app.onError((error, c) => problemOf(error, occurrence(c), log));

  for (const route of routes) {
    const policy = policies[routeKey(route)] as Policy;
    const answered = answersOf(route.method, route.path);
    app.on(route.method, [route.path], async (c) => {
      c.set('answered', answered);
      const asked = policy === 'docs' && docsOpen ? 'public' : policy;
      const isOpen = asked === 'public' || asked === 'signed';
      const principal = isOpen ? NOBODY : await authenticate(c, route, principals);
      const signer = route.signed?.(c.req.param() as Record<string, string>);
      const trail = audit.trail({
        actor: principal === NOBODY ? undefined : principal,
        address: c.get('address'),
        requestId: c.get('requestId'),
      });
      if (route.limited || asked !== 'public') {
        const rate = route.limited
          ? await limits.attempt(c.get('address'))
          : limits.request(signer ?? principal.userId);
        c.set('rate', rate);
        refuseBeyond(rate);
      }
      if (!isOpen) authorize(route, principal, asked, trail);
      if (route.off) throw new ProblemError('not_found', route.off);
      const read = await readInput(c, route, principal, publicUrl);
      const key = route.idempotent && idempotency.useOf(c.req, principal, read.json);
      // Not spread: what is made when it is asked for stays so.
      const input = Object.assign(read.input, {
        key,
        trail,
        stillGood: () => isStillGood(c, route, principals, principal),
      });
      const work = () => call(route, input);
      const answer = await (route.idempotent === 'answer' && key ? idempotency.once(key, work) : work());
      return respond(c, answer);
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
    if ((route.signed !== undefined) !== (policies[routeKey(route)] === 'signed'))
      throw new Error(
        `the route ${routeKey(route)} has to say how it is signed, and that its policy is so, or neither`,
      );
  for (const route of routes)
    if (route.idempotent && ['public', 'signed'].includes(policies[routeKey(route)] as string))
      throw new Error(`the route ${routeKey(route)} is public, so nobody owns its keys: take idempotent out of it`);
  for (const key of Object.keys(policies))
    if (!keys.has(key))
      throw new Error(`the policy of ${key} has no route: take its line out of POLICIES in src/api/policy.ts`);
}

/** Whether a request would be let in again, and would see the same. @throws where nobody can say */
async function isStillGood(c: Context<Env>, route: Route, principals: Principals, then: Principal): Promise<boolean> {
  try {
    const now = await authenticate(c, route, principals);
    // A key outlives the role that decided what it may see.
    return now.role === then.role;
  } catch (error) {
    if (error instanceof ProblemError) return false;
    throw error;
  }
}

async function respond(c: Context<Env>, { status, body, text, stream, headers }: RouteAnswer): Promise<Response> {
  if (stream) {
    // Who asks for the head alone gets no body, and nobody would read it.
    const isHead = c.req.method === 'HEAD';
    if (isHead) await stream.cancel();
    return makeAnswer(c, isHead ? null : stream, { status, headers });
  }
  if (text !== undefined)
    return makeAnswer(c, text, { status, headers: { 'Content-Type': 'text/html; charset=utf-8', ...headers } });
  if (body === undefined) return makeAnswer(c, null, { status, headers });
  return makeAnswer(c, JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json', ...headers } });
}

async function call(route: Route, input: RouteInput<unknown, unknown>): Promise<RouteAnswer> {
  try {
    return await route.handle(input);
  } catch (error) {
    // Hono hands nothing but Errors to onError.
    throw error instanceof Error ? error : new Error('something that is no Error was thrown', { cause: error });
  }
}

function isFor(c: Context<Env>, { method, path }: Route): boolean {
  return method === c.req.method && matches(path, c.req.path);
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const given = path.split('/');
  return (
    wanted.length === given.length &&
    wanted.every((part, index) => part === given[index] || (part.startsWith(':') && given[index] !== ''))
  );
}

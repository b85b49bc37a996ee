import type { Context } from 'hono';
import { ProblemError } from '../../errors.ts';
import { type AuthFailure, countAuthFailure } from '../../telemetry/auth.ts';
import type { Trail } from '../audit.ts';
import { networkOf } from '../client-address.ts';
import { POLICIES, type Policy } from '../policy.ts';
import { type Principal, type Route, routeKey } from '../route.ts';
import { noSuchTask } from '../routes/task-access.ts';
import type { Principals } from './principals.ts';
import type { TokenKind } from './tokens.ts';

/** Who asks at a public route. */
export const NOBODY: Principal = { userId: '', username: '', role: '', sessionId: '', can: () => false };

/**
 * The principal of the token or the API key that came along.
 * @throws ProblemError `unauthorized`, `invalid_token`, or `bad_request` where there are two
 */
export async function authenticate(c: Context, route: Route, principals: Principals): Promise<Principal> {
  const authorization = c.req.header('authorization');
  const apiKey = c.req.header('x-api-key');
  const forTask = readsOneTask(route);
  const inQuery = forTask ? (c.req.queries('access_token') ?? []) : [];
  const [, scheme, bearer] = /^(\S+) +(\S+)$/.exec(authorization ?? '') ?? [];
  const two = apiKey !== undefined && authorization !== undefined && apiKey !== bearer;
  if (two || inQuery.length > 1 || (inQuery.length > 0 && (apiKey ?? authorization) !== undefined))
    throw refused(
      'two_credentials',
      new ProblemError('bad_request', 'The request brings two credentials. Send one of them.'),
    );

  if (apiKey === undefined && scheme !== undefined && !isBearer(scheme))
    throw unauthorized(
      'other_scheme',
      'The header Authorization wants `Bearer <access token or API key>`; other schemes are not taken. POST /api/v1/auth/login gives a token for a name and a password.',
    );
  const credential = apiKey ?? bearer ?? inQuery[0];
  if (credential === undefined)
    throw unauthorized(
      'no_credential',
      'Send the header `Authorization: Bearer <access token or API key>`; POST /api/v1/auth/login gives a token.',
    );
  if (apiKey !== undefined || (isBearer(scheme) && credential.startsWith('sk_'))) {
    const principal = await principals.ofKey(credential, networkOf(c.get('address') ?? ''));
    if (!principal) throw unauthorized('bad_key', 'The API key is not good: it is revoked, expired or unknown.');
    return principal;
  }
  const principal = await principals.ofToken(credential, kindsFor(forTask, scheme));
  if (!principal) throw unauthorized('bad_token', 'The access token is not good: refresh it, or log in again.');
  if (principal.taskId !== undefined && principal.taskId !== c.req.param('id')?.toLowerCase()) throw noSuchTask();
  return principal;
}

const isBearer = (scheme = '') => scheme.toLowerCase() === 'bearer';

const TASK = '/api/v1/tasks/:id';

/** Whether the route only reads a task, whole or as a stream, so that a token for this one task opens it. */
export function readsOneTask({ method, path }: Route): boolean {
  const below = path === TASK || path.startsWith(`${TASK}/`);
  // What is below a task and wants another permission, as its webhooks do, is not for a browser.
  return method === 'GET' && below && POLICIES[routeKey({ method, path })] === 'tasks:read';
}

/** The tokens that are taken: in a URL only those that open little, behind another scheme none. */
function kindsFor(forTask: boolean, scheme: string | undefined): TokenKind[] {
  if (scheme === undefined) return ['task'];
  if (!isBearer(scheme)) return [];
  return forTask ? ['access', 'task'] : ['access'];
}

/** @throws ProblemError `forbidden` where the principal lacks the permission of the route, and writes that down */
export function authorize(
  route: Route,
  principal: Principal,
  policy: Exclude<Policy, 'public' | 'signed'>,
  trail: Trail,
): void {
  const permission = policy === 'docs' ? 'self:read' : policy;
  if (principal.can(permission)) return;
  countAuthFailure('forbidden');
  trail.record({
    action: 'auth.forbidden',
    outcome: 'refused',
    object: { type: 'route', id: routeKey(route) },
    details: { permission },
  });
  const who = principal.keyId ? 'This API key' : `Your role ${principal.role}`;
  throw new ProblemError('forbidden', `${who} may not do this; it wants the permission ${permission}.`);
}

/** RFC 6750, 3: no error code where no token was sent at all. */
function unauthorized(reason: AuthFailure, detail: string): ProblemError {
  const code = reason === 'no_credential' ? 'unauthorized' : 'invalid_token';
  const challenge =
    code === 'invalid_token' ? 'Bearer realm="sutazai", error="invalid_token"' : 'Bearer realm="sutazai"';
  return refused(reason, new ProblemError(code, detail, { headers: { 'WWW-Authenticate': challenge } }));
}

function refused(reason: AuthFailure, problem: ProblemError): ProblemError {
  countAuthFailure(reason);
  return problem;
}

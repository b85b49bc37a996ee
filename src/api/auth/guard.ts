import type { Context } from 'hono';
import { ProblemError } from '../../errors.ts';
import type { Trail } from '../audit.ts';
import type { Policy } from '../policy.ts';
import { type Principal, type Route, routeKey } from '../route.ts';
import type { Principals } from './principals.ts';

/** Who asks at a public route. */
export const NOBODY: Principal = { userId: '', username: '', role: '', sessionId: '', can: () => false };

/** The principal of the token that came along. @throws ProblemError `unauthorized` or `invalid_token` */
export async function authenticate(c: Context, principals: Principals): Promise<Principal> {
  const [, scheme, token] = /^(\S+) +(\S+)$/.exec(c.req.header('authorization') ?? '') ?? [];
  if (!scheme || !token)
    throw unauthorized(
      'unauthorized',
      'Send the header `Authorization: Bearer <access token>`; POST /api/v1/auth/login gives one.',
    );
  const principal = scheme.toLowerCase() === 'bearer' ? await principals.ofToken(token) : undefined;
  if (!principal) throw unauthorized('invalid_token', 'The access token is not good: refresh it, or log in again.');
  return principal;
}

/** @throws ProblemError `forbidden` where the principal lacks the permission of the route, and writes that down */
export function authorize(route: Route, principal: Principal, policy: Exclude<Policy, 'public'>, trail: Trail): void {
  const permission = policy === 'docs' ? 'self:read' : policy;
  if (principal.can(permission)) return;
  trail.record({
    action: 'auth.forbidden',
    outcome: 'refused',
    object: { type: 'route', id: routeKey(route) },
    details: { permission },
  });
  throw new ProblemError(
    'forbidden',
    `Your role ${principal.role} may not do this; it wants the permission ${permission}.`,
  );
}

/** RFC 6750, 3: no error code where no token was sent at all. */
function unauthorized(code: 'unauthorized' | 'invalid_token', detail: string): ProblemError {
  const challenge =
    code === 'invalid_token' ? 'Bearer realm="sutazai", error="invalid_token"' : 'Bearer realm="sutazai"';
  return new ProblemError(code, detail, { headers: { 'WWW-Authenticate': challenge } });
}

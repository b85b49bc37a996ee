// Who gets what on each route, as the policies say; docs/security.md shows it, and tests/security/matrix.test.ts asks for it
// over HTTP.
import { PERMISSIONS, type Permission, POLICIES, ROLE_PERMISSIONS } from '../src/api/policy.ts';
import type { Role } from '../src/db/schema.ts';

interface Actor {
  name: string;
  /** Whose permissions it has; none where its credential is none or is not good. */
  role?: Role;
  /** Whether what the route names belongs to it. */
  owner?: true;
  /** An API key does not touch the account of its owner; one without the scope of the route does nothing. */
  key?: 'all scopes' | 'without the scope';
}

export const ACTORS = [
  { name: 'nobody' },
  { name: 'viewer', role: 'viewer' },
  { name: 'owner', role: 'user', owner: true },
  { name: 'other user', role: 'user' },
  { name: 'operator', role: 'operator' },
  { name: 'admin', role: 'admin' },
  { name: 'expired token' },
  { name: 'revoked token' },
  { name: "owner's key", role: 'user', owner: true, key: 'all scopes' },
  { name: 'key without scope', role: 'user', owner: true, key: 'without the scope' },
] as const satisfies Actor[];

/** Paths with a parameter that names nothing of a user's own. Every other one does: to others it is not there. */
const SHARED = [
  '/docs/problems/:code',
  '/v1/models/:model',
  '/api/v1/models/:name',
  '/api/v1/callbacks/:token',
  '/api/v1/users/:id',
  '/api/v1/invitations/:id',
  '/api/v1/monitoring/queues/:name',
];

/** Whether a route names something that belongs to one user. */
export function isOwned(route: string): boolean {
  const [, path = ''] = route.split(' ');
  return path.includes(':') && !SHARED.some((shared) => path === shared || path.startsWith(`${shared}/`));
}

/** `ok`, or the status of the refusal; with DOCS=closed. */
export type Outcome = 'ok' | 401 | 403 | 404;

export function outcomeOf(route: string, actor: Actor): Outcome {
  const policy = POLICIES[route];
  if (policy === undefined) throw new Error(`there is no policy for ${route}`);
  // Whoever has a signed address may use it.
  if (policy === 'public' || policy === 'signed') return 'ok';
  if (!actor.role) return 401;
  const permission = policy === 'docs' ? 'self:read' : policy;
  const may = ROLE_PERMISSIONS[actor.role];
  if (!may.has(permission) || actor.key === 'without the scope' || (actor.key && permission === 'self:write'))
    return 403;
  const any = `${permission}:any`;
  return isOwned(route) && !actor.owner && !(any in PERMISSIONS && may.has(any as Permission)) ? 404 : 'ok';
}

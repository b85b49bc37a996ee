import type { Role } from '../db/schema.ts';

/** Everything that somebody may be allowed to do. */
export const PERMISSIONS = [
  'tasks:create',
  'tasks:read',
  'tasks:read:any',
  'tasks:steer',
  'tasks:steer:any',
  'task-types:read',
  'models:read',
  'queues:read',
  'queues:steer',
  'self:read',
] as const;
export type Permission = (typeof PERMISSIONS)[number];

const VIEWER: Permission[] = ['self:read', 'tasks:read', 'task-types:read', 'models:read'];
const USER: Permission[] = [...VIEWER, 'tasks:create', 'tasks:steer'];
const OPERATOR: Permission[] = [...USER, 'tasks:read:any', 'tasks:steer:any', 'queues:read'];

/** What each role may do. */
export const ROLE_PERMISSIONS: Record<Role, ReadonlySet<Permission>> = {
  viewer: new Set(VIEWER),
  user: new Set(USER),
  operator: new Set(OPERATOR),
  admin: new Set(PERMISSIONS),
};

/** Who may call a route: anybody, whoever has the permission, or (`docs`) anybody where DOCS is open and else any account. */
export type Policy = 'public' | 'docs' | Permission;

/** One entry a route. The API does not start with a route that is missing here, nor with an entry that has no route. */
export const POLICIES: Record<string, Policy> = {
  'GET /healthz': 'public',
  'GET /readyz': 'public',
  'GET /docs/problems/:code': 'docs',
  'POST /api/v1/auth/register': 'public',
  'POST /api/v1/auth/login': 'public',
  'POST /api/v1/auth/refresh': 'public',
  'POST /api/v1/auth/logout': 'self:read',
  'GET /api/v1/auth/me': 'self:read',
  'GET /api/v1/task-types': 'task-types:read',
  'GET /api/v1/models': 'models:read',
  'POST /api/v1/tasks': 'tasks:create',
  'POST /api/v1/tasks/batch': 'tasks:create',
  'GET /api/v1/tasks': 'tasks:read',
  'GET /api/v1/tasks/:id': 'tasks:read',
  'GET /api/v1/tasks/:id/attempts': 'tasks:read',
  'POST /api/v1/tasks/:id/cancel': 'tasks:steer',
  'POST /api/v1/tasks/:id/retry': 'tasks:steer',
};

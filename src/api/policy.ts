import type { Role } from '../db/schema.ts';

/** Everything that somebody may be allowed to do, and what it means. `docs/security.md` shows this table. */
export const PERMISSIONS = {
  'self:read': 'see the own account, its sessions and its API keys',
  'self:write': 'change the own password, end own sessions, make and revoke API keys; never with an API key',
  'task-types:read': 'see which kinds of work there are',
  'models:read': 'see which models there are',
  'tasks:read': 'read own tasks',
  'tasks:create': 'submit tasks',
  'tasks:steer': 'cancel and retry own tasks',
  'tasks:read:any': 'read the tasks of everybody, without their payloads',
  'tasks:steer:any': 'cancel and retry the tasks of everybody',
  'payloads:read': 'see input, output and metadata of the tasks of others',
  'queues:read': 'see queues and workers, open the dashboard',
  'queues:pause': 'pause and resume queues',
  'queues:steer': 'change jobs in the dashboard',
  'users:read': 'see all accounts and invitations',
  'users:write': 'change and delete accounts, invite people',
  'audit:read': 'read the audit log',
} as const satisfies Record<string, string>;

export type Permission = keyof typeof PERMISSIONS;

export const PERMISSION_NAMES = Object.keys(PERMISSIONS) as Permission[];

const VIEWER: Permission[] = ['self:read', 'self:write', 'task-types:read', 'models:read', 'tasks:read'];
const USER: Permission[] = [...VIEWER, 'tasks:create', 'tasks:steer'];
const OPERATOR: Permission[] = [...USER, 'tasks:read:any', 'tasks:steer:any', 'queues:read', 'queues:pause'];

/** What each role may do; each has all that the one before it has. */
export const ROLE_PERMISSIONS: Record<Role, ReadonlySet<Permission>> = {
  viewer: new Set(VIEWER),
  user: new Set(USER),
  operator: new Set(OPERATOR),
  admin: new Set(PERMISSION_NAMES),
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
  'POST /api/v1/auth/logout': 'self:write',
  'GET /api/v1/auth/me': 'self:read',
  'GET /api/v1/auth/sessions': 'self:read',
  'DELETE /api/v1/auth/sessions': 'self:write',
  'DELETE /api/v1/auth/sessions/:id': 'self:write',
  'POST /api/v1/auth/password': 'self:write',
  'GET /api/v1/users': 'users:read',
  'GET /api/v1/users/:id': 'users:read',
  'PATCH /api/v1/users/:id': 'users:write',
  'DELETE /api/v1/users/:id': 'users:write',
  'POST /api/v1/invitations': 'users:write',
  'GET /api/v1/invitations': 'users:read',
  'DELETE /api/v1/invitations/:id': 'users:write',
  'GET /api/v1/api-keys': 'self:read',
  'POST /api/v1/api-keys': 'self:write',
  'DELETE /api/v1/api-keys/:id': 'self:write',
  'GET /api/v1/audit': 'audit:read',
  'GET /api/v1/monitoring/queues': 'queues:read',
  'POST /api/v1/monitoring/queues/:name/pause': 'queues:pause',
  'POST /api/v1/monitoring/queues/:name/resume': 'queues:pause',
  'GET /api/v1/monitoring/workers': 'queues:read',
  'GET /api/v1/monitoring/system': 'queues:read',
  'GET /api/v1/task-types': 'task-types:read',
  'GET /api/v1/models': 'models:read',
  'POST /api/v1/tasks': 'tasks:create',
  'POST /api/v1/tasks/batch': 'tasks:create',
  'GET /api/v1/tasks': 'tasks:read',
  'GET /api/v1/tasks/:id': 'tasks:read',
  'GET /api/v1/tasks/:id/attempts': 'tasks:read',
  'POST /api/v1/tasks/:id/token': 'tasks:read',
  'POST /api/v1/tasks/:id/cancel': 'tasks:steer',
  'POST /api/v1/tasks/:id/retry': 'tasks:steer',
};

import type { Role } from './db/schema.ts';

/** Everything that somebody may be allowed to do, and what it means. `docs/security.md` shows this table. */
export const PERMISSIONS = {
  'self:read': 'see the own account, its sessions and its API keys',
  'self:write': 'change the own password, end own sessions, make and revoke API keys; never with an API key',
  'task-types:read': 'see which kinds of work there are',
  'models:read': 'see which models there are',
  'models:write': 'bring models to the hosts and delete them there',
  'tasks:read': 'read own tasks',
  'tasks:create': 'submit tasks',
  'tasks:steer': 'cancel and retry own tasks, one or many; approve and reject what waits for one',
  'tasks:delete': 'delete what is in own tasks that have ended',
  'tasks:read:any': 'read the tasks of everybody, without their payloads',
  'tasks:steer:any': 'cancel and retry the tasks of everybody',
  'tasks:delete:any': 'delete what is in the tasks of everybody that have ended',
  'payloads:read': 'see input, output and metadata of the tasks of others',
  'schedules:read': 'see own schedules',
  'schedules:write': 'make, change, run and delete own schedules; all but deleting wants tasks:create too',
  'workflows:read': 'see own stored workflows',
  'workflows:write': 'store, change and delete own workflows; running one wants tasks:create',
  'webhooks:read': 'see own webhooks, what was sent to them and what they answered',
  'webhooks:write': 'make, change, test and remove own webhooks, send messages again',
  'agents:read': 'see own agents and those of everybody',
  'agents:write': 'make, change, check and delete own agents',
  'agents:read:any': 'see the agents of all users; nobody sees their secrets',
  'agents:write:any': 'make, change and delete agents of everybody; switch off, check and delete those of others',
  'files:read': 'read own files',
  'files:write': 'upload and delete own files',
  'collections:read': 'see and search own collections of vectors',
  'collections:write':
    'make and delete own collections of vectors and the documents in them; ingesting one wants tasks:create too',
  'responses:read': "read own responses, the tasks that OpenAI's clients ask for with /v1/responses",
  'responses:write': 'cancel and delete own responses',
  'batches:read': 'see own batches',
  'batches:write': 'make and cancel own batches; making one wants tasks:create too',
  'queues:read': 'see queues and workers, open the dashboard',
  'metrics:read': 'read what is counted and measured, as Prometheus does',
  'queues:pause': 'pause and resume queues',
  'queues:steer': 'change jobs in the dashboard',
  'users:read': 'see all accounts and invitations',
  'users:write': 'change and delete accounts, invite people',
  'audit:read': 'read the audit log',
} as const satisfies Record<string, string>;

export type Permission = keyof typeof PERMISSIONS;

export const PERMISSION_NAMES = Object.keys(PERMISSIONS) as Permission[];

const VIEWER: Permission[] = [
  'self:read',
  'self:write',
  'task-types:read',
  'models:read',
  'tasks:read',
  'schedules:read',
  'workflows:read',
  'webhooks:read',
  'agents:read',
  'files:read',
  'collections:read',
  'responses:read',
  'batches:read',
];
const USER: Permission[] = [
  ...VIEWER,
  'tasks:create',
  'tasks:steer',
  'tasks:delete',
  'schedules:write',
  'workflows:write',
  'webhooks:write',
  'agents:write',
  'files:write',
  'collections:write',
  'responses:write',
  'batches:write',
];
const OPERATOR: Permission[] = [
  ...USER,
  ...([
    'tasks:read:any',
    'tasks:steer:any',
    'tasks:delete:any',
    'agents:read:any',
    'agents:write:any',
    'queues:read',
    'metrics:read',
    'queues:pause',
    'models:write',
  ] as const),
];

/** What each role may do; each has all that the one before it has. */
export const ROLE_PERMISSIONS: Record<Role, ReadonlySet<Permission>> = {
  viewer: new Set(VIEWER),
  user: new Set(USER),
  operator: new Set(OPERATOR),
  admin: new Set(PERMISSION_NAMES),
};

/** What somebody may do: what the role allows, and with an API key what its scopes name besides. */
export function permits(role: Role, scopes: readonly string[] | undefined, permission: Permission): boolean {
  if (!ROLE_PERMISSIONS[role].has(permission)) return false;
  return scopes === undefined || (permission !== 'self:write' && (scopes.includes('*') || scopes.includes(permission)));
}

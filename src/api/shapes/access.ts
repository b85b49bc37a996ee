import * as v from 'valibot';
import type { AuditRow } from '../../db/audit.ts';
import type { InvitationRow } from '../../db/invitations.ts';
import { ROLES } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import type { Same } from '../answer.ts';

const keyFields = {
  id: sentId,
  name: v.string(),
  prefix: v.pipe(v.string(), v.description('The beginning of the key, to tell it from others.')),
  scopes: v.array(v.string()),
  task_types: v.nullable(v.array(v.string())),
  priority_ceiling: v.nullable(v.pipe(v.number(), v.integer())),
  created_at: sentTime,
  expires_at: v.nullable(sentTime),
  last_used_at: v.nullable(sentTime),
};

/** An API key as `presentKey` answers it. */
export const apiKey = named('ApiKey', v.strictObject(keyFields));

/** The same with the key itself. */
export const newApiKey = named(
  'NewApiKey',
  v.strictObject({
    ...keyFields,
    key: v.pipe(v.string(), v.description('The key itself; it is shown in this answer alone.')),
  }),
);

/** Where somebody is logged in. */
export const session = named(
  'Session',
  v.strictObject({
    id: sentId,
    current: v.pipe(v.boolean(), v.description('Whether this request belongs to it.')),
    user_agent: v.nullable(v.string()),
    address: v.nullable(v.string()),
    created_at: sentTime,
    last_used_at: sentTime,
    expires_at: sentTime,
  }),
);

const invitationFields = {
  id: sentId,
  email: v.nullable(v.string()),
  role: v.picklist(ROLES),
  created_by: v.nullable(sentId),
  created_at: sentTime,
  expires_at: sentTime,
  used_by: v.nullable(sentId),
  used_at: v.nullable(sentTime),
};

export const invitation = named('Invitation', v.strictObject(invitationFields));

/** The same with the token that is sent to whoever is invited. */
export const newInvitation = named(
  'NewInvitation',
  v.strictObject({
    ...invitationFields,
    token: v.pipe(v.string(), v.description('What to send on registration; it is shown in this answer alone.')),
  }),
);

/** One line of the audit log. */
export const auditEntry = named(
  'AuditEntry',
  v.strictObject({
    id: sentId,
    at: sentTime,
    actor_id: v.nullable(sentId),
    actor_name: v.nullable(v.string()),
    key_id: v.nullable(sentId),
    action: v.string(),
    outcome: v.picklist(['ok', 'refused']),
    object_type: v.nullable(v.string()),
    object_id: v.nullable(v.string()),
    address: v.nullable(v.string()),
    request_id: v.nullable(v.string()),
    details: v.record(v.string(), v.unknown()),
  }),
);

true satisfies Same<InvitationRow, v.InferOutput<typeof invitation>>;
true satisfies Same<AuditRow, v.InferOutput<typeof auditEntry>>;

const ADA = '0199a5c0-1c52-7d0f-8a77-5b2e9d3c4f01';
const ID = '0199a5c1-0a11-7a01-8a01-000000000002';

export const apiKeyExample: v.InferInput<typeof apiKey> = {
  id: ID,
  name: 'nightly import',
  prefix: 'sk_3fK9x2',
  scopes: ['tasks:create', 'tasks:read'],
  task_types: ['embed'],
  priority_ceiling: 6,
  created_at: '2030-01-31T12:00:00.000Z',
  expires_at: null,
  last_used_at: null,
};

export const sessionExample: v.InferInput<typeof session> = {
  id: ID,
  current: true,
  user_agent: 'curl/8.5.0',
  address: '192.0.2.7',
  created_at: '2030-01-31T11:00:00.000Z',
  last_used_at: '2030-01-31T12:00:00.000Z',
  expires_at: '2030-03-02T11:00:00.000Z',
};

export const invitationExample: v.InferInput<typeof invitation> = {
  id: ID,
  email: 'grace@example.com',
  role: 'user',
  created_by: ADA,
  created_at: '2030-01-31T12:00:00.000Z',
  expires_at: '2030-02-07T12:00:00.000Z',
  used_by: null,
  used_at: null,
};

export const auditExample: v.InferInput<typeof auditEntry> = {
  id: ID,
  at: '2030-01-31T12:00:00.000Z',
  actor_id: ADA,
  actor_name: 'ada',
  key_id: null,
  action: 'api_key.create',
  outcome: 'ok',
  object_type: 'api_key',
  object_id: ID,
  address: '192.0.2.7',
  request_id: 'b9ff1c0e-4a4e-4f8f-9d43-0d2ab2d2b3a1',
  details: { name: 'nightly import', scopes: ['tasks:create'] },
};

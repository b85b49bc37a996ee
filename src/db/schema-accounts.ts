import type { Generated } from 'kysely';
import type { GeneratedTime, Json, NullableTime, Time } from './columns.ts';

export const ROLES = ['admin', 'operator', 'user', 'viewer'] as const;
export type Role = (typeof ROLES)[number];

export interface UserTable {
  id: string;
  username: string;
  email: string;
  password_hash: string;
  role: Generated<Role>;
  is_active: Generated<boolean>;
  created_at: GeneratedTime;
  updated_at: GeneratedTime;
  last_login_at: NullableTime;
}

export interface UserSessionTable {
  id: string;
  user_id: string;
  token_hash: Buffer;
  previous_token_hash: Buffer | null;
  rotated_at: NullableTime;
  user_agent: string | null;
  address: string | null;
  created_at: GeneratedTime;
  last_used_at: GeneratedTime;
  expires_at: Time;
  revoked_at: NullableTime;
  revoked_reason: string | null;
}

export interface ApiKeyTable {
  id: string;
  user_id: string;
  name: string;
  prefix: string;
  key_hash: Buffer;
  scopes: string[];
  task_types: string[] | null;
  priority_ceiling: number | null;
  created_at: GeneratedTime;
  expires_at: NullableTime;
  last_used_at: NullableTime;
  revoked_at: NullableTime;
}

export interface SigningKeyTable {
  kid: string;
  secret: Buffer;
  created_at: GeneratedTime;
  retires_at: NullableTime;
}

export interface AuditTable {
  id: string;
  at: GeneratedTime;
  actor_id: string | null;
  actor_name: string | null;
  /** The API key that was used, where it was one. */
  key_id: string | null;
  action: string;
  outcome: 'ok' | 'refused';
  object_type: string | null;
  object_id: string | null;
  address: string | null;
  request_id: string | null;
  details: Json<Record<string, unknown>>;
}

export interface InvitationTable {
  id: string;
  token_hash: Buffer;
  /** Who alone may use it; anybody who has it where this is `null`. */
  email: string | null;
  role: Role;
  created_by: string | null;
  created_at: GeneratedTime;
  expires_at: Time;
  used_by: string | null;
  used_at: NullableTime;
}

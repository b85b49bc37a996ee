import type { Generated } from 'kysely';
import type { Lane } from '../tasks/lanes.ts';
import type { Usage } from '../tasks/tools.ts';
import type { GeneratedTime, Json, NullableJson, NullableTime, Time } from './columns.ts';
import type {
  ApiKeyTable,
  AuditTable,
  InvitationTable,
  SigningKeyTable,
  UserSessionTable,
  UserTable,
} from './schema-accounts.ts';
import type { LoginFailureTable, RequestCountTable, TokenUsageTable, UserLimitTable } from './schema-limits.ts';

export type { Usage } from '../tasks/tools.ts';
export * from './schema-accounts.ts';

/** The public words for where a task stands; the last four are ended. */
export const STATUSES = [
  'scheduled',
  'pending',
  'running',
  'cancelling',
  'completed',
  'failed',
  'cancelled',
  'expired',
] as const;
export type Status = (typeof STATUSES)[number];

export const ENDED = ['completed', 'failed', 'cancelled', 'expired'] as const satisfies Status[];

/** Whether nothing but an explicit retry moves a task out of this status. */
export function hasEnded(status: Status): boolean {
  return (ENDED as readonly Status[]).includes(status);
}

/** How one attempt of a task ended. */
export type Outcome = 'completed' | 'failed' | 'retry' | 'released' | 'cancelled' | 'lost';

export interface AgentTable {
  id: string;
  name: string;
  type: string;
  endpoint: string;
  port: number | null;
  is_active: Generated<boolean>;
  capabilities: Json<string[]>;
  config: Json<Record<string, unknown>>;
  created_at: GeneratedTime;
  updated_at: GeneratedTime;
}

/** Why a task or an attempt did not succeed; never a stack, a query or an address of the inside. */
export interface StoredError {
  code: string;
  message: string;
  retryable: boolean;
}

export interface Progress {
  percent: number | null;
  message: string | null;
}

/** Where a task reports its end; `secret` is sealed and in base64. */
export interface TaskWebhook {
  url: string;
  events: string[];
  secret: string;
}

export interface TaskTable {
  id: string;
  user_id: string;
  type: string;
  lane: Lane;
  title: string | null;
  status: Status;
  priority: number;
  input: Json<unknown>;
  output: NullableJson<unknown>;
  error: NullableJson<StoredError>;
  progress: NullableJson<Progress>;
  attempt: Generated<number>;
  max_attempts: number;
  failures: Generated<number>;
  losses: Generated<number>;
  generation: Generated<number>;
  timeout_ms: number;
  worker: string | null;
  lease_until: NullableTime;
  watched: Generated<boolean>;
  metadata: Json<Record<string, unknown>>;
  tags: Generated<string[]>;
  model: string | null;
  usage: NullableJson<Usage>;
  agent_id: string | null;
  parent_id: string | null;
  batch_id: string | null;
  schedule_id: string | null;
  webhook: NullableJson<TaskWebhook>;
  request_id: string | null;
  cancel_reason: string | null;
  created_at: GeneratedTime;
  ready_at: GeneratedTime;
  /** Since when it stands in line, where that is not `ready_at`: a task that comes back keeps its place. */
  queued_at: NullableTime;
  scheduled_for: NullableTime;
  started_at: NullableTime;
  completed_at: NullableTime;
  expires_at: NullableTime;
}

export interface AttemptTable {
  task_id: string;
  attempt: number;
  outcome: Outcome;
  worker: string | null;
  model: string | null;
  usage: NullableJson<Usage>;
  error: NullableJson<StoredError>;
  started_at: NullableTime;
  ended_at: GeneratedTime;
}

export interface DeliveryTable {
  id: Generated<string>;
  task_id: string;
  task_attempt: number;
  event: string;
  url: string;
  secret: Buffer;
  status: Generated<'pending' | 'running' | 'delivered' | 'failed'>;
  attempt: Generated<number>;
  generation: Generated<number>;
  lease_until: NullableTime;
  ready_at: GeneratedTime;
  last_status: number | null;
  last_error: string | null;
  created_at: GeneratedTime;
  completed_at: NullableTime;
}

export interface DeliveryAttemptTable {
  delivery_id: string;
  attempt: number;
  status: number | null;
  error: string | null;
  response: string | null;
  latency_ms: number;
  at: GeneratedTime;
}

/** `answer` is sealed, and not there while the first request with the key is at work. */
export interface IdempotencyKeyTable {
  user_id: string;
  caller: string;
  key: string;
  fingerprint: Buffer;
  holder: string;
  answer: Buffer | null;
  created_at: GeneratedTime;
  expires_at: Time;
}

export interface CollectionTable {
  id: string;
  user_id: string;
  name: string;
  embedding_model: string | null;
  dimensions: number;
  created_at: GeneratedTime;
}

export interface PausedLaneTable {
  lane: Lane;
  paused_by: string | null;
  paused_at: GeneratedTime;
}

/** Every table, as Kysely knows it. */
export interface Database {
  users: UserTable;
  user_sessions: UserSessionTable;
  api_keys: ApiKeyTable;
  signing_keys: SigningKeyTable;
  agents: AgentTable;
  tasks: TaskTable;
  collections: CollectionTable;
  attempts: AttemptTable;
  deliveries: DeliveryTable;
  delivery_attempts: DeliveryAttemptTable;
  audit_log: AuditTable;
  invitations: InvitationTable;
  paused_lanes: PausedLaneTable;
  user_limits: UserLimitTable;
  token_usage: TokenUsageTable;
  login_failures: LoginFailureTable;
  request_counts: RequestCountTable;
  idempotency_keys: IdempotencyKeyTable;
}

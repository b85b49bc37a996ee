import type { Generated } from 'kysely';
import type { GeneratedTime, NullableJson, NullableTime } from './columns.ts';

/** Why nothing is sent to an endpoint: its owner said so, it answered 410, or it failed for days. */
export const DISABLED_REASONS = ['owner', 'gone', 'failing'] as const;
export type DisabledReason = (typeof DISABLED_REASONS)[number];

/** An address of a user that hears of all their tasks. The secrets are sealed. */
export interface WebhookEndpointTable {
  id: string;
  user_id: string;
  name: string | null;
  url: string;
  events: string[];
  enabled: Generated<boolean>;
  disabled_reason: DisabledReason | null;
  disabled_at: NullableTime;
  secret: Buffer;
  /** The one before, which signs too until then. */
  previous_secret: Buffer | null;
  previous_until: NullableTime;
  /** Since when no attempt has succeeded; `null` after a success. */
  failing_since: NullableTime;
  /** To a minute. */
  last_success_at: NullableTime;
  created_at: GeneratedTime;
  updated_at: GeneratedTime;
  deleted_at: NullableTime;
}

export const DELIVERY_STATUSES = ['pending', 'running', 'delivered', 'failed'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];

export interface DeliveryTable {
  id: Generated<string>;
  /** Not there for what is about an endpoint and not about a task. */
  task_id: string | null;
  task_attempt: number | null;
  event: string;
  /** Not there where a task names the address itself. */
  endpoint_id: string | null;
  url: string;
  /** Of a task that names the address itself. */
  secret: Buffer | null;
  /** What the message says beside the task, or instead of it. */
  data: NullableJson<Record<string, unknown>>;
  status: Generated<DeliveryStatus>;
  attempt: Generated<number>;
  /** The attempt after which the schedule of retries began anew. */
  schedule_from: Generated<number>;
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

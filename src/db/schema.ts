import type { Generated } from 'kysely';
import type { Lane } from '../tasks/lanes.ts';
import type { Awaiting, Usage } from '../tasks/tools.ts';
import type { GeneratedTime, Json, NullableJson, NullableTime, Time } from './columns.ts';
import type {
  ApiKeyTable,
  AuditTable,
  InvitationTable,
  SigningKeyTable,
  UserSessionTable,
  UserTable,
} from './schema-accounts.ts';
import type { AgentCallTable, AgentHealthTable, AgentProbeTable } from './schema-agent-health.ts';
import type { AgentTable } from './schema-agents.ts';
import type { CollectionTable, RemovedCollectionTable } from './schema-collections.ts';
import type { DocumentChunkTable, DocumentTable } from './schema-documents.ts';
import type { BatchLineTable, BatchTable, FilePartTable, FileTable } from './schema-files.ts';
import type { LoginFailureTable, RequestCountTable, TokenUsageTable, UserLimitTable } from './schema-limits.ts';
import type { PausedLaneTable } from './schema-paused-lanes.ts';
import type { ScheduleTable } from './schema-schedules.ts';
import type { DeliveryAttemptTable, DeliveryTable, WebhookEndpointTable } from './schema-webhooks.ts';
import type { LaneMinuteTable, LineMarkTable, TaskTermTable, UserCostTable, WorkerTable } from './schema-workers.ts';
import type { WorkflowDefinitionTable, WorkflowVersionTable } from './schema-workflow-definitions.ts';
import type { WorkflowEdgeTable, WorkflowEndTable, WorkflowRunTable, WorkflowStepTable } from './schema-workflows.ts';

export type { Awaiting, Usage } from '../tasks/tools.ts';
export * from './schema-accounts.ts';
export * from './schema-agent-health.ts';
export * from './schema-agents.ts';
export * from './schema-collections.ts';
export * from './schema-documents.ts';
export type { BatchError, BatchStatus } from './schema-files.ts';
export * from './schema-schedules.ts';
export * from './schema-webhooks.ts';
export * from './schema-workflow-definitions.ts';
export * from './schema-workflows.ts';

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

/** How one attempt of a task ended; one that was `parked` gave its slot back until something outside has happened. */
export type Outcome = 'completed' | 'failed' | 'retry' | 'released' | 'cancelled' | 'lost' | 'parked';

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

/** What becomes of a task whose key has no place: it waits, others make room, or it is refused. */
export const CONCURRENCY_POLICIES = ['queue', 'cancel_running', 'reject'] as const;
export type ConcurrencyPolicy = (typeof CONCURRENCY_POLICIES)[number];

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
  /** What a parked task waits for; it runs for whoever asks, but no worker holds it. */
  awaiting: Awaiting | null;
  /** When it is woken whatever has happened by then. */
  awaiting_until: NullableTime;
  /** How often somebody told the task that there is something for it. */
  signals: Generated<number>;
  /** How often it was run again by an explicit retry; what belongs to an earlier life is of no use in this one. */
  life: Generated<number>;
  /** How many of its attempts ended only because it had to wait for something outside. */
  parkings: Generated<number>;
  watched: Generated<boolean>;
  /** Whether its events are read: changes are announced, and its text is published while it runs. */
  streamed: Generated<boolean>;
  metadata: Json<Record<string, unknown>>;
  tags: Generated<string[]>;
  model: string | null;
  usage: NullableJson<Usage>;
  agent_id: string | null;
  parent_id: string | null;
  batch_id: string | null;
  /** The task that this one was made from by a retry with another input; it may be gone. */
  origin_id: string | null;
  schedule_id: string | null;
  webhook: NullableJson<TaskWebhook>;
  /** Of the tasks of a user with the same key, at most `concurrency_limit` run at a time; `null` where it has none. */
  concurrency_key: string | null;
  concurrency_limit: number | null;
  concurrency_policy: ConcurrencyPolicy | null;
  /** Which places are all taken, so that it waits without a job; see `holds.ts`. */
  held_by: string | null;
  /** Whether it is held back no more: a job was made for it, which finds a place, or holds it back again. */
  called: Generated<boolean>;
  request_id: string | null;
  /** The trace that it belongs to, as W3C writes it. */
  traceparent: string | null;
  cancel_reason: string | null;
  created_at: GeneratedTime;
  ready_at: GeneratedTime;
  /** Since when it stands in line, where that is not `ready_at`: a task that comes back keeps its place. */
  queued_at: NullableTime;
  scheduled_for: NullableTime;
  started_at: NullableTime;
  completed_at: NullableTime;
  expires_at: NullableTime;
  /** Since when nothing of what its user wrote, and of what came of it, is here any more. */
  payload_deleted_at: NullableTime;
}

/** What a part of a task came to; an attempt after the one that did it takes it from here. */
export interface TaskMemoTable {
  task_id: string;
  name: string;
  id: Generated<string>;
  attempt: number;
  kind: string;
  value: Json<unknown>;
  started_at: Time;
  ended_at: GeneratedTime;
}

export interface AttemptTable {
  task_id: string;
  attempt: number;
  outcome: Outcome;
  worker: string | null;
  model: string | null;
  /** What the name of the model stood for on the host that ran it; that is a label, not an address. */
  model_digest: string | null;
  host: string | null;
  usage: NullableJson<Usage>;
  error: NullableJson<StoredError>;
  started_at: NullableTime;
  ended_at: GeneratedTime;
}

/** What happened to a task and stands in no other row. */
export interface TaskEventTable {
  id: Generated<string>;
  task_id: string;
  attempt: number;
  type: 'progress' | 'log' | 'cancel' | 'retried' | 'resumed';
  data: Json<Record<string, unknown>>;
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

/** Every table, as Kysely knows it. */
export interface Database {
  users: UserTable;
  user_sessions: UserSessionTable;
  api_keys: ApiKeyTable;
  signing_keys: SigningKeyTable;
  agents: AgentTable;
  agent_health: AgentHealthTable;
  agent_probes: AgentProbeTable;
  agent_calls: AgentCallTable;
  tasks: TaskTable;
  schedules: ScheduleTable;
  collections: CollectionTable;
  removed_collections: RemovedCollectionTable;
  documents: DocumentTable;
  workflow_definitions: WorkflowDefinitionTable;
  workflow_versions: WorkflowVersionTable;
  document_chunks: DocumentChunkTable;
  attempts: AttemptTable;
  task_memos: TaskMemoTable;
  webhook_endpoints: WebhookEndpointTable;
  task_events: TaskEventTable;
  deliveries: DeliveryTable;
  delivery_attempts: DeliveryAttemptTable;
  audit_log: AuditTable;
  invitations: InvitationTable;
  paused_lanes: PausedLaneTable;
  workers: WorkerTable;
  lane_minutes: LaneMinuteTable;
  line_marks: LineMarkTable;
  task_terms: TaskTermTable;
  user_costs: UserCostTable;
  user_limits: UserLimitTable;
  token_usage: TokenUsageTable;
  login_failures: LoginFailureTable;
  request_counts: RequestCountTable;
  idempotency_keys: IdempotencyKeyTable;
  files: FileTable;
  file_parts: FilePartTable;
  batches: BatchTable;
  batch_lines: BatchLineTable;
  workflow_runs: WorkflowRunTable;
  workflow_steps: WorkflowStepTable;
  workflow_edges: WorkflowEdgeTable;
  workflow_ends: WorkflowEndTable;
}

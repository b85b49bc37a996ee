import type { Generated } from 'kysely';
import type { GeneratedTime, NullableJson, NullableTime } from './columns.ts';

/** How an agent is, as far as anybody heard of it. */
export const AGENT_STATES = ['healthy', 'degraded', 'down', 'unknown'] as const;
export type AgentState = (typeof AGENT_STATES)[number];

/** Where an outcome is known from: we asked how the agent is, or a task called it. */
export type HeardBy = 'probe' | 'call';

export interface AgentFailure {
  message: string;
  source: HeardBy;
  at: string;
}

/** What all processes know of an agent; its row is the lock for whoever gives out places of it, or counts a failure. */
export interface AgentHealthTable {
  agent_id: string;
  state: Generated<AgentState>;
  /** Failures since the last success of the same kind. */
  probe_failures: Generated<number>;
  call_failures: Generated<number>;
  /** How often the circuit opened since a call succeeded. */
  openings: Generated<number>;
  /** Until when it is left alone; `null` while the circuit is closed. */
  opened_until: NullableTime;
  heard_at: NullableTime;
  /** What is not as it should be with an agent that answers. */
  note: string | null;
  last_error: NullableJson<AgentFailure>;
  /** Of those of the last outcomes that succeeded. */
  probe_p50_ms: number | null;
  probe_p95_ms: number | null;
  call_p50_ms: number | null;
  call_p95_ms: number | null;
  /** When the last of those comes back who found no place. */
  appointed_at: GeneratedTime;
}

/** The history of an agent: its last outcomes. */
export interface AgentProbeTable {
  /** Postgres gives a `bigint` as text. */
  id: Generated<string>;
  agent_id: string;
  source: HeardBy;
  ok: boolean;
  status: number | null;
  latency_ms: number;
  error: string | null;
  at: GeneratedTime;
}

/** A place of an agent that an attempt was given. */
export interface AgentCallTable {
  id: string;
  agent_id: string;
  task_id: string;
  attempt: number;
  /** Whether the agent goes on with it after the attempt: the place is taken for as long as the task is parked. */
  kept: Generated<boolean>;
  /** Whether its task was cancelled while the agent went on with it, of which the agent is to be told. */
  stop: Generated<boolean>;
  at: GeneratedTime;
  ended_at: NullableTime;
}

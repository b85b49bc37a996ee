import type { Generated } from 'kysely';
import type { GeneratedTime, Json, NullableTime } from './columns.ts';

/** What kinds of agents there are: the way in which one is spoken to. */
export const AGENT_TYPES = ['http', 'a2a', 'openai', 'ollama'] as const;
export type AgentType = (typeof AGENT_TYPES)[number];

/** Somebody else who does work: a service of a user's own, or a model with tools. */
export interface AgentTable {
  id: string;
  /** Whose it is; `null` where it is everybody's. */
  user_id: string | null;
  /** Unique among those of a user, and among those of everybody, that are not removed. */
  name: string;
  type: AgentType;
  description: string | null;
  /** `null` for a model of our own hosts. */
  endpoint: string | null;
  port: number | null;
  is_active: Generated<boolean>;
  capabilities: Json<string[]>;
  /** As it was given: what holds where nothing was said is filled in by whoever reads it. */
  config: Json<Record<string, unknown>>;
  /** Values by name, sealed together. */
  secrets: Buffer | null;
  secret_names: Generated<string[]>;
  /** When it is asked next how it is; of one that is not active it means nothing. */
  next_probe_at: GeneratedTime;
  created_at: GeneratedTime;
  updated_at: GeneratedTime;
  /** A removed one is not active either. */
  deleted_at: NullableTime;
}

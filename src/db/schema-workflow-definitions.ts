import type { Definition } from '../tasks/workflow-definition.ts';
import type { GeneratedTime, Json } from './columns.ts';

/** A stored workflow of a user: its name, and which version is the last. */
export interface WorkflowDefinitionTable {
  id: string;
  user_id: string;
  /** Unique among those of a user. */
  name: string;
  description: string | null;
  version: number;
  step_count: number;
  created_at: GeneratedTime;
  updated_at: GeneratedTime;
}

export interface WorkflowVersionTable {
  id: string;
  workflow_id: string;
  version: number;
  definition: Json<Definition>;
  step_count: number;
  /** The name of the user who made it. */
  created_by: string;
  created_at: GeneratedTime;
}

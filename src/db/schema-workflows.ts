import type { ColumnType } from 'kysely';
import type { GeneratedTime, NullableJson, NullableTime } from './columns.ts';
import type { StoredError } from './schema.ts';

/**
 * Where a workflow stands: it goes forward; a step failed and what is at work comes to its end; what was done is undone; nothing
 * is left to do; its user wants what is missing done again, or all of it.
 */
export const WORKFLOW_PHASES = ['forward', 'stopping', 'undoing', 'ended', 'restart', 'anew'] as const;
export type WorkflowPhase = (typeof WORKFLOW_PHASES)[number];

/** Where a step stands, or what it does for one item; the last four are ended. */
export const STEP_STATUSES = [
  'waiting',
  'ready',
  'running',
  'awaiting',
  'completed',
  'failed',
  'skipped',
  'cancelled',
] as const;
export type StepStatus = (typeof STEP_STATUSES)[number];

/** Who decided what about a step that waits for a human. */
export interface Decision {
  approved: boolean;
  by: { id: string; username: string };
  comment: string | null;
  at: string;
}

/** A workflow that has begun. */
export interface WorkflowRunTable {
  workflow_id: string;
  phase: ColumnType<WorkflowPhase, WorkflowPhase | undefined, WorkflowPhase>;
  /** How many workflows it runs inside of. */
  depth: number;
  input: NullableJson<unknown>;
  /** The template of its output. */
  output: NullableJson<unknown>;
  steps: number;
  /** Steps that have not ended. */
  open: number;
  /** Its tasks that have not ended. */
  busy: number;
  /** Whether what was done is to be undone. */
  undo: boolean;
  /** How large the items of all its lists are. */
  item_bytes: ColumnType<number, number | undefined, number>;
  error: NullableJson<StoredError>;
  /** When it is to be looked at, though nothing ended. */
  look_at: NullableTime;
}

/** A step (`item` is -1), or what it does for one item of its list. */
export interface WorkflowStepTable {
  workflow_id: string;
  step: string;
  item: number;
  /** Its place in the definition. */
  place: number;
  status: StepStatus;
  needs_left: number;
  definition: NullableJson<Record<string, unknown>>;
  /** What an item is about. */
  value: NullableJson<unknown>;
  child_id: string | null;
  items: number | null;
  items_left: number | null;
  items_failed: number | null;
  /** Of a step that is no task. */
  output: NullableJson<unknown>;
  error: NullableJson<StoredError>;
  decision: NullableJson<Decision>;
  expires_at: NullableTime;
  undo: 'ready' | 'running' | 'completed' | 'failed' | null;
  undo_id: string | null;
  started_at: NullableTime;
  ended_at: NullableTime;
}

/** `step` begins after `needs`. */
export interface WorkflowEdgeTable {
  workflow_id: string;
  needs: string;
  step: string;
}

/** The end of a task of a workflow, or of a step that is none, with which the workflow has not reckoned so far. */
export interface WorkflowEndTable {
  id: ColumnType<string, never, never>;
  workflow_id: string;
  child_id: string | null;
  step: string | null;
  status: string;
  error: NullableJson<StoredError>;
  output: NullableJson<unknown>;
  at: GeneratedTime;
}

import type { Lane } from '../tasks/lanes.ts';
import type { GeneratedTime, Json, Time } from './columns.ts';

/** What a process does in a lane: how many at a time it may, and how many it does. */
export interface LaneWork {
  concurrency: number;
  running: number;
}

/** A dependency that a process leaves alone, because it keeps failing. */
export interface Down {
  dependency: 'ollama' | 'qdrant';
  /** Where only this model of it fails. */
  model: string | null;
}

/** A model that the host has not loaded yet, although an attempt waits for its first word. */
export interface Loading {
  model: string;
  /** Whether the task named the model; otherwise it was chosen for it. */
  requested: boolean;
}

export interface WorkerTable {
  name: string;
  version: string;
  lanes: Json<Partial<Record<Lane, LaneWork>>>;
  down: Json<Down[]>;
  loading: Json<Loading[]>;
  started_at: Time;
  seen_at: GeneratedTime;
}

/** What a lane did in a minute, counted since 1970. `runs` and their milliseconds are of attempts that ended a task. */
export interface LaneMinuteTable {
  lane: Lane;
  minute: number;
  started: number;
  completed: number;
  failed: number;
  runs: number;
  run_ms: number;
  run_ms_squared: number;
}

/** A task that waits at a round place of its class. */
export interface LineMarkTable {
  lane: Lane;
  priority: number;
  place: number;
  since: Time;
  task_id: string;
  marked_at: GeneratedTime;
  /** Of a task in the backlog, whose place is one among those of this user. */
  user_id: string | null;
}

/** What tasks of a user cost lately, of about twenty of them: milliseconds, or tokens in the lanes of models. */
export interface UserCostTable {
  lane: Lane;
  user_id: string;
  type: string;
  runs: number;
  cost: number;
  updated_at: GeneratedTime;
}

export interface TaskTermTable {
  task_id: string;
  user_id: string;
  term: string;
}

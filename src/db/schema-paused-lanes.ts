import type { Lane } from '../tasks/lanes.ts';
import type { GeneratedTime } from './columns.ts';

/** A lane in which no task is started. */
export interface PausedLaneTable {
  lane: Lane;
  paused_by: string | null;
  paused_at: GeneratedTime;
}

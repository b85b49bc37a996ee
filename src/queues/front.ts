import type { Lane } from '../tasks/lanes.ts';
import { OVERTAKEN } from './fair.ts';

/** What is known of how quickly a lane works. */
export interface LanePace {
  /** How many tasks run at a time over all workers. */
  slots: number;
  /** How long one took lately, in milliseconds; `null` where none did. */
  mean_ms: number | null;
}

export interface FrontOptions {
  /** The most tasks that a lane has in front, its users and classes aside; 0 is any number. */
  most: number;
  /** How much waiting a class of priority is worth. */
  agingMs: number;
  /** In which lanes workers choose among the first, for the sake of a model in memory. */
  choosing: ReadonlySet<Lane>;
}

/** So much work keeps a lane busy, however rarely somebody looks. */
const ENOUGH_MS = 1_000;
/** So many tasks for each slot in any case, and so many where nobody works yet. */
const A_SLOT = 2;
const AT_LEAST = 100;
/** Among so many workers choose; see `src/workers/window.ts`. */
const CHOSEN_FROM = 128;

/**
 * How many tasks of a lane are to have a job: enough for about a second. Where workers choose among them there may be more, but not so many
 * that one waits there until nobody can go before it any more.
 */
export function frontSizes(lane: Lane, { slots, mean_ms }: LanePace, { most, agingMs, choosing }: FrontOptions) {
  if (most === 0) return { enough: Number.POSITIVE_INFINITY, size: Number.POSITIVE_INFINITY };
  const within = (ms: number) => (mean_ms ? Math.floor((slots * ms) / mean_ms) : 0);
  const enough = Math.min(most, Math.max(slots === 0 ? AT_LEAST : A_SLOT * slots, within(ENOUGH_MS)));
  const chosen = choosing.has(lane) ? Math.min(CHOSEN_FROM, most, within(OVERTAKEN * agingMs)) : 0;
  return { enough, size: Math.max(enough, chosen) };
}

import type { LaneRate } from '../db/workers.ts';

/** When a task will probably start: in 19 of 20 cases between the first and the last, if it goes on as it did. */
export interface ExpectedStart {
  earliest: Date;
  likely: Date;
  latest: Date;
}

export interface Pace {
  /** How many tasks of the lane run at a time over all workers, and how many do. */
  slots: number;
  running: number;
  /** Over the last minutes, and over a longer time. */
  recent: Pick<LaneRate, 'runs' | 'mean_ms' | 'deviation_ms'> | undefined;
  long: Pick<LaneRate, 'runs' | 'mean_ms' | 'deviation_ms'> | undefined;
}

/** Fewer runs than this say little about the next. */
const ENOUGH = 20;

/**
 * Each task ahead has to end, or to find a free slot, before this one starts: n ends over s slots take n · mean / s, and vary with the
 * root of n. How much the last minutes differ from the longer time is added to the spread. `undefined` where nothing was measured.
 */
export function expectStart(
  position: number,
  { slots, running, recent, long }: Pace,
  now: Date,
): ExpectedStart | undefined {
  const ends = Math.max(0, position - Math.max(0, slots - running));
  if (slots === 0) return undefined;
  if (ends === 0) return { earliest: now, likely: now, latest: now };
  const measured = [recent, long].filter((rate) => rate && rate.runs > 0);
  const best = recent && recent.runs >= ENOUGH ? recent : long?.runs ? long : recent;
  if (!best?.runs) return undefined;
  const means = measured.map((rate) => rate?.mean_ms ?? 0);
  const drift = (Math.max(...means) - Math.min(...means)) * ends;
  // Of a single run nobody knows how much runs vary: then they may as much as they last.
  const deviation = best.runs > 1 ? (best.deviation_ms ?? 0) : (best.mean_ms ?? 0);
  const likely = ((best.mean_ms ?? 0) * ends) / slots;
  const spread = (2 * deviation * Math.sqrt(ends) + drift) / slots;
  const after = (ms: number) => new Date(now.getTime() + Math.round(Math.max(0, ms)));
  return { earliest: after(likely - spread), likely: after(likely), latest: after(likely + spread) };
}

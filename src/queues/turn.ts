/** BullMQ's limit; lower numbers go first, and 0 would mean no priority at all. */
const LAST_TURN = 2_097_151;
/** From when on half spans are counted. */
export const BASE_MS = Date.UTC(2026, 0, 1);

export const FIRST_PRIORITY = 1;
export const LAST_PRIORITY = 10;

/** What the place of a row in its lane depends on. */
export interface InLine {
  priority: number;
  ready_at: Date;
  /** Since when it stands in line, where that is not `ready_at`. */
  queued_at: Date | null;
}

/** Whether it was given out before: released, retried, woken, or taken back from a lost worker. */
const cameBack = ({ queued_at, ready_at }: InLine) => queued_at !== null && queued_at < ready_at;

/** How many half spans lie between 2026 and then. */
const halfSpansOf = (since: Date, half: number) => Math.floor((since.getTime() - BASE_MS) / half);

/**
 * Since when a task has to stand in line that comes to it now and is to have the turn of those who stand there since `from`. Who
 * stands there since before it came has the turn before, as one that comes back.
 * @param from now, or more than half a span ago
 */
export const queuedFor = (from: number, now: number, agingMs: number): number =>
  from < now ? from + agingMs / 2 : from;

/**
 * When it is a task's turn, as the number by which BullMQ orders a lane. BullMQ is strict: under an endless stream of
 * urgent tasks the others would never run. So a class of priority is worth a span of waiting, `agingMs`: a task stands
 * behind newer ones that are more urgent by n classes until it has waited n spans longer than they, and never for less
 * than n − ½ spans. With a span of 0 the order is strict. Within a turn BullMQ gives out first what was added first, so a
 * task that comes back, whose job is new, has the turn before: it would stand behind those that it was before.
 *
 * The number depends on nothing but the row, so that a lane that is filled again has the order that it had. It counts
 * half spans since 2026; after two million of them (with the default of 600 s in 2045) it starts anew.
 */
export function turnOf(row: InLine, agingMs: number): number {
  if (agingMs === 0) return row.priority;
  const halfSpans =
    halfSpansOf(row.queued_at ?? row.ready_at, agingMs / 2) + 2 * (row.priority - 1) - (cameBack(row) ? 1 : 0);
  return (Math.max(halfSpans, 0) % LAST_TURN) + 1;
}

/**
 * Since when a task of another class stands in line whose turn comes with that of the given one. Within the same turn, which
 * lasts half a span, the one that was added first is first: so those of a less urgent class come before it, which are older, and
 * those of a more urgent one after it.
 */
export function dueOf(row: InLine, other: number, agingMs: number): Date {
  const half = agingMs / 2;
  const { priority, queued_at, ready_at } = row;
  const begins = halfSpansOf(queued_at ?? ready_at, half) + 2 * (priority - other) - (cameBack(row) ? 1 : 0);
  return new Date(BASE_MS + (begins + (other > priority ? 1 : 0)) * half);
}

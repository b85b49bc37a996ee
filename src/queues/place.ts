import type { Db } from '../db/connect.ts';
import { BY_LANE } from '../db/tasks/backlog.ts';
import { countBeforeInBacklog, estimateBeforeInBacklog, findBefore, type Until } from '../db/tasks/place.ts';
import type { TaskRow } from '../db/tasks/read.ts';
import { dueOf, FIRST_PRIORITY, LAST_PRIORITY } from './turn.ts';

/** Where a task stands in its lane; 1 is next. */
export interface Place {
  position: number;
  /** Whether it was counted; otherwise it is an estimate of two digits. */
  exact: boolean;
}

/** A place is counted up to here, which takes a millisecond or two; counting all would take the longer the more wait. */
const COUNTED = 1_000;
/** Where the marks say so many, it is far beyond that, however far off they are. */
const FAR = 10_000;

type Waiting = Pick<TaskRow, 'id' | 'status' | 'priority' | 'ready_at' | 'queued_at' | 'held_by' | 'called'>;

/** Whether a task stands in line now: not one that is due later, nor one that is held back by what its user may. */
export function isInLine({ status, ready_at, held_by, called }: Omit<Waiting, 'id'>): boolean {
  return (
    status === 'pending' && ready_at.getTime() <= Date.now() && (held_by === null || held_by === BY_LANE || called)
  );
}

/**
 * Where a task stands among those of its lane that want to start now, in the order in which they are given out; of those that
 * failed and came back within the last half span the order is not known exactly. In the backlog of the lane it is an estimate, because
 * who comes to the front next depends on what tasks will have cost. `undefined` where it does not stand in line, or so far
 * behind that nobody knows yet.
 */
export async function findPlace(db: Db, task: Waiting, agingMs: number): Promise<Place | undefined> {
  if (!isInLine(task)) return undefined;
  if (task.held_by === BY_LANE && !task.called) return findPlaceInBacklog(db, task.id);
  const { counted, about } = await findBefore(db, task.id, boundsBefore(task, agingMs), { upTo: COUNTED, far: FAR });
  if (counted !== null && counted < COUNTED) return { position: counted + 1, exact: true };
  return about === null ? undefined : { position: rounded(Math.max(about, COUNTED)), exact: false };
}

async function findPlaceInBacklog(db: Db, id: string): Promise<Place | undefined> {
  const before = await countBeforeInBacklog(db, id, COUNTED);
  const about = before < COUNTED ? before + 1 : await estimateBeforeInBacklog(db, id);
  return { position: rounded(Math.max(about ?? 0, before)), exact: false };
}

const rounded = (about: number) => Number(about.toPrecision(2));

/** For each class, since when those stand in line whose turn is before that of the task. */
function boundsBefore(task: Omit<Waiting, 'id'>, agingMs: number): Until[] {
  const bounds: Until[] = [];
  for (let priority = FIRST_PRIORITY; priority <= LAST_PRIORITY; priority++) {
    if (priority === task.priority) bounds.push({ priority, since: null });
    else if (agingMs > 0) bounds.push({ priority, since: dueOf(task, priority, agingMs) });
    else if (priority < task.priority) bounds.push({ priority, since: new Date(8.64e15 / 1_000) });
  }
  return bounds;
}

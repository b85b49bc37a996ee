import { hasEnded } from '../db/schema.ts';
import type { Transition } from '../db/tasks/transition.ts';
import { WORKFLOW } from '../tasks/workflow-definition.ts';
import type { Dispatcher, Wake } from './dispatcher.ts';
import type { Places } from './places.ts';
import { wakesOf } from './wakes.ts';

/** Moves workflows on, as the engine does. */
export interface Advancing {
  advance(id: string): void;
}

export interface AfterMove {
  dispatcher: Pick<Dispatcher, 'enqueue' | 'remove'>;
  places: Pick<Places, 'freed'>;
  workflows: Advancing;
}

/** The same, where tasks are stored or set going again besides: those may have to wait in the backlog of their lane. */
export interface AfterStore extends AfterMove {
  dispatcher: Pick<Dispatcher, 'enqueue' | 'remove' | 'receive' | 'full'>;
}

/** Moves on, soon, whatever the ends of these tasks belong to: the workflows that they are steps of, and those that ended before their time. */
export function moveOnAfter(
  moved: ReadonlyArray<Pick<Transition, 'id' | 'type' | 'status' | 'parent_id'>>,
  workflows: Advancing,
): void {
  const ended = moved.filter(({ status }) => hasEnded(status));
  const ids = ended.flatMap(({ id, type, parent_id }) => [
    ...(parent_id === null ? [] : [parent_id]),
    ...(type === WORKFLOW ? [id] : []),
  ]);
  for (const id of new Set(ids)) workflows.advance(id);
}

/**
 * All that follows once tasks were stopped or set going again, and that is committed: those that wait get their jobs, and their
 * messages theirs; jobs of what was stopped are of no use any more; the places that it had go to whom stands next; and workflows
 * move on. What cannot be done now, the reconciler does.
 * @param more jobs that are to be added with these
 */
export async function tellMoved(
  moved: readonly Transition[],
  { dispatcher, places, workflows }: AfterMove,
  more: Wake[] = [],
): Promise<void> {
  moveOnAfter(moved, workflows);
  const wakes = [...more, ...moved.flatMap(wakesOf)];
  const stopped = moved.filter(({ status }) => status === 'cancelled');
  // One that was parked had the place of its key.
  const free = moved.filter((one) => one.called || (one.status === 'cancelled' && one.concurrency_key !== null));
  await Promise.all([
    wakes.length > 0 ? dispatcher.enqueue(wakes) : undefined,
    ...stopped.map((one) => dispatcher.remove(one)),
    free.length > 0 ? places.freed(free) : undefined,
  ]);
}

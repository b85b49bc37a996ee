import { hasEnded } from '../db/schema.ts';
import type { Transition } from '../db/tasks/transition.ts';
import { WORKFLOW } from '../tasks/workflow-definition.ts';
import type { Workflows } from './engine.ts';

/** Moves on, soon, whatever the ends of these tasks belong to: the workflows that they are steps of, and those that ended before their time. */
export function moveOnAfter(
  moved: ReadonlyArray<Pick<Transition, 'id' | 'type' | 'status' | 'parent_id'>>,
  workflows: Pick<Workflows, 'advance'>,
): void {
  const ended = moved.filter(({ status }) => hasEnded(status));
  const ids = ended.flatMap(({ id, type, parent_id }) => [
    ...(parent_id === null ? [] : [parent_id]),
    ...(type === WORKFLOW ? [id] : []),
  ]);
  for (const id of new Set(ids)) workflows.advance(id);
}

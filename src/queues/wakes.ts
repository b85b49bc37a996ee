import { DELIVERY_PRIORITY } from '../db/deliveries.ts';
import type { Transition } from '../db/tasks/transition.ts';
import type { Wake } from './dispatcher.ts';

/** The jobs that a moved task wants: one for itself where it waits again, and one for each of its deliveries. */
export function wakesOf(moved: Transition): Wake[] {
  const { id, type, lane, priority, generation, ready_at, queued_at, request_id, status } = moved;
  const own: Wake[] =
    status === 'pending' || status === 'scheduled'
      ? [{ kind: 'task', id, type, lane, priority, generation, ready_at, queued_at, request_id }]
      : [];
  return [...own, ...deliveryWakes(moved)];
}

/** The jobs of the deliveries alone, where the task's own job is still at work. */
export function deliveryWakes({ deliveries, status, request_id }: Transition): Wake[] {
  return (deliveries ?? []).map((id) => ({
    kind: 'delivery',
    id,
    type: `task.${status}`,
    lane: 'webhook',
    priority: DELIVERY_PRIORITY,
    generation: 0,
    // At once: a task that was cancelled before its time is not told of at that time.
    ready_at: new Date(0),
    queued_at: new Date(),
    request_id,
  }));
}

import { DELIVERY_PRIORITY, type DeliveryRow } from '../db/deliveries.ts';
import type { Transition } from '../db/tasks/transition.ts';
import type { Wake } from './dispatcher.ts';

/** The jobs that a moved task wants: one for itself where it waits again, and one for each of its deliveries. */
export function wakesOf(moved: Transition): Wake[] {
  const { id, type, lane, priority, generation, ready_at, queued_at, request_id, parent_id, status } = moved;
  const { held_by, called } = moved;
  const own: Wake[] =
    status === 'pending' || status === 'scheduled'
      ? [
          {
            kind: 'task',
            id,
            type,
            lane,
            priority,
            generation,
            ready_at,
            queued_at,
            request_id,
            parent_id,
            held_by,
            called,
          },
        ]
      : [];
  return [...own, ...deliveryWakes(moved)];
}

/** The jobs of the deliveries alone, where the task's own job is still at work. */
export function deliveryWakes({ deliveries, status, request_id }: Transition): Wake[] {
  return wakesOfDeliveries(`task.${status}`, deliveries, request_id);
}

/** The jobs of deliveries of an event that are to be sent now. */
export function wakesOfDeliveries(
  event: string,
  deliveries: ReadonlyArray<string | Pick<DeliveryRow, 'id' | 'generation'>> | null,
  request_id: string | null = null,
): Wake[] {
  return (deliveries ?? []).map((one) => ({
    kind: 'delivery',
    ...(typeof one === 'string' ? { id: one, generation: 0 } : { id: one.id, generation: one.generation }),
    type: event,
    lane: 'webhook',
    priority: DELIVERY_PRIORITY,
    // At once: a task that was cancelled before its time is not told of at that time.
    ready_at: new Date(0),
    queued_at: new Date(),
    request_id,
  }));
}

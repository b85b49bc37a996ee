import type * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import type { DeliveryRow } from '../../db/deliveries.ts';
import { isId } from '../../db/ids.ts';
import { type EndpointRow, findEndpoint } from '../../db/webhook-endpoints.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import { wakesOfDeliveries } from '../../queues/wakes.ts';
import type { Principal } from '../route.ts';
import type { delivery, webhook } from '../shapes/webhook.ts';
import { briefly } from './task-access.ts';

export const noSuchWebhook = () => new ProblemError('not_found', 'There is no such webhook.');

/** An endpoint of the one who asks. @throws ProblemError `not_found` */
export async function readEndpoint(db: Db, principal: Principal, id = ''): Promise<EndpointRow> {
  const found = isId(id) ? await findEndpoint(db, principal.userId, id) : undefined;
  if (!found) throw noSuchWebhook();
  return found;
}

/** An endpoint without its secrets. */
export function presentEndpoint(row: EndpointRow): v.InferOutput<typeof webhook> {
  const { id, name, url, events, enabled, disabled_reason, disabled_at, failing_since } = row;
  const { last_success_at, previous_until, created_at, updated_at } = row;
  return {
    ...{ id, name, url, events, enabled, disabled_reason, disabled_at, failing_since, last_success_at },
    previous_secret_until: previous_until && previous_until.getTime() > Date.now() ? previous_until : null,
    ...{ created_at, updated_at },
  };
}

/** A delivery as its owner sees it. */
export function presentDelivery(row: DeliveryRow): v.InferOutput<typeof delivery> {
  const { id, event, endpoint_id, task_id, url, status, attempt, ready_at } = row;
  const { last_status, last_error, created_at, completed_at } = row;
  return {
    ...{ id, event, webhook_id: endpoint_id, task_id, url, status, attempt },
    next_attempt_at: status === 'pending' ? ready_at : null,
    ...{ last_status, last_error, created_at, completed_at },
  };
}

/** Puts deliveries into their lane; where that fails the reconciler does. */
export async function wakeDeliveries(dispatcher: Dispatcher, rows: DeliveryRow[], requestId: string): Promise<void> {
  const wakes = rows.flatMap((row) => wakesOfDeliveries(row.event, [row], requestId));
  await briefly(dispatcher.enqueue(wakes));
}

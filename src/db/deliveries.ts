import { type Selectable, sql } from 'kysely';
import type { Db } from './connect.ts';
import type { DeliveryTable } from './schema.ts';
import type { Place, Waiting } from './tasks/waiting.ts';

export type DeliveryRow = Selectable<DeliveryTable>;

/** Deliveries have no priority of their own; the middle. */
export const DELIVERY_PRIORITY = 5;

/** Takes one delivery: pending → running, attempt + 1, a lease; `undefined` means that its job is to be dropped. */
export async function claimDelivery(
  db: Db,
  id: string,
  generation: number,
  leaseMs: number,
): Promise<DeliveryRow | undefined> {
  const { rows } = await sql<DeliveryRow>`
    update deliveries set status = 'running', attempt = attempt + 1,
      lease_until = now() + ${leaseMs}::int * interval '1 millisecond'
    where id = ${id} and generation = ${generation} and status = 'pending'
    returning *`.execute(db);
  return rows[0];
}

/** What an attempt to deliver met. */
export interface DeliveryResult {
  status: 'delivered' | 'failed' | 'pending';
  /** For `pending`: when to try again. */
  delayMs: number;
  /** The HTTP status, where an answer came. */
  httpStatus: number | null;
  error: string | null;
  /** The first part of the answer. */
  response: string | null;
  latencyMs: number;
}

/** Writes the outcome of an attempt and its row in the log; fenced like a task. Answers whether it was still ours. */
export async function settleDelivery(db: Db, delivery: DeliveryRow, result: DeliveryResult): Promise<boolean> {
  const { rows } = await sql`
    with moved as (
      update deliveries set status = ${result.status}, lease_until = null, last_status = ${result.httpStatus}::smallint,
        last_error = ${result.error},
        ready_at = case when ${result.status} = 'pending' then now() + ${result.delayMs}::bigint * interval '1 millisecond' else ready_at end,
        completed_at = case when ${result.status} <> 'pending' then now() end
      where id = ${delivery.id} and attempt = ${delivery.attempt} and status = 'running'
      returning id
    )
    insert into delivery_attempts (delivery_id, attempt, status, error, response, latency_ms)
    select id, ${delivery.attempt}::int, ${result.httpStatus}::smallint, ${result.error}, ${result.response}, ${result.latencyMs}::int
    from moved returning 1`.execute(db);
  return rows.length > 0;
}

/** Gives a delivery back that was claimed and not sent: no attempt was made. */
export async function postponeDelivery(db: Db, { id, attempt }: DeliveryRow, delayMs: number): Promise<void> {
  await sql`
    update deliveries set status = 'pending', attempt = attempt - 1, lease_until = null,
      ready_at = now() + ${delayMs}::bigint * interval '1 millisecond'
    where id = ${id} and attempt = ${attempt} and status = 'running'`.execute(db);
}

/** Gives deliveries back whose worker was lost. At most `limit` a call. */
export async function rescueDeliveries(db: Db, limit: number): Promise<Waiting[]> {
  const { rows } = await sql<Waiting>`
    update deliveries set status = 'pending', generation = generation + 1, lease_until = null, ready_at = now()
    where id in (select id from deliveries where status = 'running' and lease_until < now()
      order by lease_until limit ${limit} for update skip locked)
    returning ${waitingColumns}`.execute(db);
  return rows;
}

/**
 * A page of the waiting deliveries that became ready before `quietMs` ago, after `place`, oldest first; with `later`,
 * those too that are due in the future.
 */
export async function listWaitingDeliveries(
  db: Db,
  place: Place,
  quietMs: number,
  limit: number,
  { later = false } = {},
): Promise<Waiting[]> {
  const quiet = sql`ready_at < now() - ${quietMs}::int * interval '1 millisecond'`;
  const { rows } = await sql<Waiting>`
    select ${waitingColumns} from deliveries
    where status = 'pending' and (ready_at, id) > (${place.place}::timestamptz, ${place.id}::uuid)
      and ${later ? sql`(${quiet} or ready_at > now())` : quiet}
    order by ready_at, id limit ${limit}`.execute(db);
  return rows;
}

const waitingColumns = sql.raw(
  `id, ready_at::text as place, event as type, 'webhook' as lane, ${DELIVERY_PRIORITY} as priority, generation, ready_at, null::timestamptz as queued_at, null as request_id`,
);

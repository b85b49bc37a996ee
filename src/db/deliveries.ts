import { type Selectable, sql } from 'kysely';
import { isTracing } from '../telemetry/tracing.ts';
import type { Db } from './connect.ts';
import type { DeliveryTable } from './schema.ts';
import type { Place, Waiting } from './tasks/waiting.ts';
import { ENDPOINT_DISABLED, ENDPOINT_REMOVED, TEST_EVENT } from './webhook-endpoints.ts';

export type DeliveryRow = Selectable<DeliveryTable>;

/** Deliveries have no priority of their own; the middle. */
export const DELIVERY_PRIORITY = 5;

/** A delivery as whoever sends it gets it. `attempt` is also the fence. */
export interface ClaimedDelivery extends DeliveryRow {
  /** Sealed; two while a secret is being rotated. */
  secrets: Buffer[];
  /** Whether no attempt at this address has succeeded since one failed, as far as is known. */
  failing: boolean;
  /** The trace of its task, while there are traces. */
  traceparent: string | null;
}

/**
 * Takes one delivery: pending → running, attempt + 1, a lease; `undefined` means that its job is to be dropped. One whose
 * endpoint was disabled or removed meanwhile ends instead, but for a test.
 */
export async function claimDelivery(
  db: Db,
  id: string,
  generation: number,
  leaseMs: number,
): Promise<ClaimedDelivery | undefined> {
  const { rows } = await sql<ClaimedDelivery>`
    with due as (
      select d.id, e.url, coalesce(d.secret, e.secret) as secret,
        case when e.previous_until > now() then e.previous_secret end as previous,
        d.attempt > d.schedule_from or e.failing_since is not null as failing,
        case when e.deleted_at is not null then ${ENDPOINT_REMOVED}
          when not e.enabled and d.event <> ${TEST_EVENT} then ${ENDPOINT_DISABLED} end as off
      from deliveries d left join webhook_endpoints e on e.id = d.endpoint_id
      where d.id = ${id} and d.generation = ${generation} and d.status = 'pending'
      for update of d
    ), ended as (
      update deliveries d set status = 'failed', last_error = due.off, completed_at = now()
      from due where d.id = due.id and due.off is not null
    )
    update deliveries d set status = 'running', attempt = d.attempt + 1, url = coalesce(due.url, d.url),
      lease_until = now() + ${leaseMs}::int * interval '1 millisecond'
    from due where d.id = due.id and due.off is null
    returning d.*, array_remove(array[due.secret, due.previous], null) as secrets, due.failing,
      ${isTracing() ? sql`(select t.traceparent from tasks t where t.id = d.task_id)` : sql`null`} as traceparent`.execute(
    db,
  );
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

/** What a written outcome means for the endpoint: whether it has failed for so long that it is to be disabled. */
export interface SettledDelivery {
  failedTooLong: boolean;
}

const MAX_FAILING_DAYS = 5;

/**
 * Writes the outcome of an attempt, its row in the log, and how its endpoint does; fenced like a task: `undefined` where the
 * delivery is not ours any more.
 */
export async function settleDelivery(
  db: Db,
  delivery: DeliveryRow,
  result: DeliveryResult,
): Promise<SettledDelivery | undefined> {
  const good = result.status === 'delivered';
  const { rows } = await sql<SettledDelivery>`
    with moved as (
      update deliveries set status = ${result.status}, lease_until = null, last_status = ${result.httpStatus}::smallint,
        last_error = ${result.error},
        ready_at = case when ${result.status} = 'pending' then now() + ${result.delayMs}::bigint * interval '1 millisecond' else ready_at end,
        completed_at = case when ${result.status} <> 'pending' then now() end
      where id = ${delivery.id} and attempt = ${delivery.attempt} and status = 'running'
      returning id, endpoint_id
    ), logged as (
      insert into delivery_attempts (delivery_id, attempt, status, error, response, latency_ms)
      select id, ${delivery.attempt}::int, ${result.httpStatus}::smallint, ${result.error}, ${result.response}, ${result.latencyMs}::int
      from moved
    ), endpoint as (
      -- Written only where it says something new, because all deliveries of an endpoint meet in this row.
      update webhook_endpoints e set failing_since = case when ${good}::boolean then null else now() end,
        last_success_at = case when ${good}::boolean then now() else e.last_success_at end
      from moved where e.id = moved.endpoint_id and case when ${good}::boolean
        then e.failing_since is not null or e.last_success_at is null or e.last_success_at < now() - interval '1 minute'
        else e.failing_since is null end
    )
    select coalesce(not ${good}::boolean and e.enabled and e.failing_since < now() - ${MAX_FAILING_DAYS}::int * interval '1 day', false) as "failedTooLong"
    from moved left join webhook_endpoints e on e.id = moved.endpoint_id`.execute(db);
  return rows[0];
}

/** Gives a delivery back that was claimed and not sent, or broken off by the end of its worker: no attempt was made. */
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

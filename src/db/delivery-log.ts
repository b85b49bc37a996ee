import { type Selectable, sql } from 'kysely';
import type { Db } from './connect.ts';
import type { DeliveryRow } from './deliveries.ts';
import { CLOCKS_DIFFER_MS, firstIdAt, shift } from './ids.ts';
import { pageOf } from './page.ts';
import type { DeliveryAttemptTable, DeliveryStatus } from './schema.ts';
import { TEST_EVENT } from './webhook-endpoints.ts';

export type DeliveryAttemptRow = Selectable<DeliveryAttemptTable>;

export interface DeliveryFilter {
  /** The deliveries of an endpoint, or those that tell of a task. */
  of: { endpointId: string } | { taskId: string };
  status?: DeliveryStatus;
  event?: string;
  /** Only those made before this one. */
  cursor?: string;
  limit: number;
}

/** A page of deliveries, newest first. */
export async function listDeliveries(
  db: Db,
  { of, status, event, cursor, limit }: DeliveryFilter,
): Promise<{ rows: DeliveryRow[]; next: string | null }> {
  let query = db
    .selectFrom('deliveries')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(limit + 1);
  query = 'endpointId' in of ? query.where('endpoint_id', '=', of.endpointId) : query.where('task_id', '=', of.taskId);
  if (status) query = query.where('status', '=', status);
  if (event) query = query.where('event', '=', event);
  if (cursor) query = query.where('id', '<', cursor);
  return pageOf(await query.execute(), limit);
}

/** Deliveries of this user: about their tasks, or for their endpoints. */
const owned = (
  userId: string,
) => sql<boolean>`(exists (select from tasks t where t.id = d.task_id and t.user_id = ${userId})
  or exists (select from webhook_endpoints e where e.id = d.endpoint_id and e.user_id = ${userId}))`;

/** A delivery of this user; `undefined` where there is none. */
export async function findDelivery(db: Db, userId: string, id: string): Promise<DeliveryRow | undefined> {
  return db.selectFrom('deliveries as d').selectAll().where('id', '=', id).where(owned(userId)).executeTakeFirst();
}

/** Every attempt of a delivery that has ended, in order. */
export async function listDeliveryAttempts(db: Db, deliveryId: string): Promise<DeliveryAttemptRow[]> {
  return db
    .selectFrom('delivery_attempts')
    .selectAll()
    .where('delivery_id', '=', deliveryId)
    .orderBy('attempt')
    .execute();
}

/** What sending again changes: the delivery keeps its id and gets the whole schedule anew. */
const again = sql`status = 'pending', generation = d.generation + 1, schedule_from = d.attempt, ready_at = now(), completed_at = null`;

/** Whether the endpoint of a delivery (`d`), where it has one, is sent anything. */
const sendable = sql`not exists (select from webhook_endpoints e where e.id = d.endpoint_id
  and (e.deleted_at is not null or not e.enabled and d.event <> ${TEST_EVENT}))`;

/** Sends a delivery again, now. `undefined` where it is not this user's, is just being sent, or its endpoint is disabled or removed. */
export async function resendDelivery(db: Db, userId: string, id: string): Promise<DeliveryRow | undefined> {
  const { rows } = await sql<DeliveryRow>`
    update deliveries d set ${again}
    where d.id = ${id} and d.status <> 'running' and ${owned(userId)} and ${sendable}
    returning d.*`.execute(db);
  return rows[0];
}

/**
 * Sends what an endpoint should have heard since a time and did not, oldest first, `atOnce` in a statement, and answers each of these.
 * Each message is sent once, also where it fails again while the others are looked for.
 */
export async function* recoverDeliveries(
  db: Db,
  endpointId: string,
  since: Date,
  atOnce: number,
): AsyncGenerator<DeliveryRow[]> {
  for (let last: string | undefined; ; ) {
    const { rows } = await sql<DeliveryRow>`
      update deliveries d set ${again}
      where d.id in (
        select id from deliveries where endpoint_id = ${endpointId} and status = 'failed' and event <> ${TEST_EVENT}
          and created_at >= ${since} and id >= ${firstIdAt(shift(since, -CLOCKS_DIFFER_MS))}
          ${last === undefined ? sql`` : sql`and id > ${last}`}
        order by id limit ${atOnce} for update skip locked)
        and ${sendable}
      returning d.*`.execute(db);
    last = rows
      .map(({ id }) => id)
      .sort()
      .at(-1);
    yield rows;
    if (rows.length < atOnce) return;
  }
}

/** Stores a message for an endpoint that is about no task. */
export async function insertEndpointDelivery(
  db: Db,
  endpoint: { id: string; url: string },
  event: string,
  data: Record<string, unknown>,
): Promise<DeliveryRow> {
  return db
    .insertInto('deliveries')
    .values({ event, endpoint_id: endpoint.id, url: endpoint.url, data: JSON.stringify(data) })
    .returningAll()
    .executeTakeFirstOrThrow();
}

import { sql } from 'kysely';
import { insertAudit } from './audit.ts';
import type { Db } from './connect.ts';
import type { DisabledReason } from './schema.ts';
import { DISABLED_EVENT, type EndpointRow, TEST_EVENT } from './webhook-endpoints.ts';

/** An endpoint that was disabled just now, and the deliveries that tell its owner of it. */
export interface Disabled {
  endpoint: EndpointRow;
  deliveries: string[];
}

/**
 * Disables an endpoint because of what it answers, tells the other endpoints of its owner that want to hear of it, and the audit
 * log. `undefined` where it is disabled or removed already.
 */
export async function disableEndpoint(
  db: Db,
  id: string,
  reason: Exclude<DisabledReason, 'owner'>,
): Promise<Disabled | undefined> {
  return db.transaction().execute(async (trx) => {
    const endpoint = await trx
      .updateTable('webhook_endpoints')
      .set({ enabled: false, disabled_reason: reason, disabled_at: sql<Date>`now()`, updated_at: sql<Date>`now()` })
      .where('id', '=', id)
      .where('enabled', '=', true)
      .where('deleted_at', 'is', null)
      .returningAll()
      .executeTakeFirst();
    if (!endpoint) return undefined;
    const { name, url, user_id, disabled_at } = endpoint;
    const data = JSON.stringify({ webhook_id: id, name, url, reason, disabled_at });
    const { rows } = await sql<{ id: string }>`
      insert into deliveries (event, url, endpoint_id, data)
      select ${DISABLED_EVENT}, url, id, ${data}::jsonb from webhook_endpoints
      where user_id = ${user_id} and enabled and deleted_at is null and events @> array[${DISABLED_EVENT}]
      returning id`.execute(trx);
    await insertAudit(trx, [
      {
        ...{ actor_id: null, actor_name: null, key_id: null, address: null, request_id: null },
        action: 'webhook.disable',
        outcome: 'ok',
        object_type: 'webhook',
        object_id: id,
        details: { reason, owner: user_id },
      },
    ]);
    return { endpoint, deliveries: rows.map((row) => row.id) };
  });
}

const BATCH = 1_000;
const MAX_BATCHES = 10;

/**
 * Ends what waits for an endpoint that was disabled, but for tests, or removed; what there is of it beyond some thousands ends when its turn comes.
 * @param why is in the log of each
 */
export async function endWaitingDeliveries(db: Db, endpointId: string, why: string): Promise<void> {
  for (let batch = 0; batch < MAX_BATCHES; batch++) {
    const { numAffectedRows } = await sql`
      update deliveries set status = 'failed', last_error = ${why}, completed_at = now() where id in (
        select d.id from deliveries d join webhook_endpoints e on e.id = d.endpoint_id
        where d.endpoint_id = ${endpointId} and d.status = 'pending'
          and (e.deleted_at is not null or not e.enabled and d.event <> ${TEST_EVENT})
        order by d.id limit ${BATCH} for update of d skip locked)`.execute(db);
    if (Number(numAffectedRows ?? 0n) < BATCH) return;
  }
}

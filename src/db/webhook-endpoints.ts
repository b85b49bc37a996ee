import { type Selectable, sql, type Transaction } from 'kysely';
import type { Db } from './connect.ts';
import { pageOf } from './page.ts';
import type { Database, DisabledReason, WebhookEndpointTable } from './schema.ts';

export type EndpointRow = Selectable<WebhookEndpointTable>;

export type NewEndpoint = Pick<EndpointRow, 'id' | 'user_id' | 'name' | 'url' | 'events' | 'secret' | 'enabled'>;

/** Sent to an endpoint when its owner asks for it, whatever it subscribes to, and also while it is disabled. */
export const TEST_EVENT = 'webhook.test';
/** Sent to the other endpoints of an owner when one was disabled because of what it answered. */
export const DISABLED_EVENT = 'webhook.disabled';

/** Why a delivery has failed of which nothing was sent. */
export const ENDPOINT_DISABLED = 'The webhook is disabled.';
export const ENDPOINT_REMOVED = 'The webhook was removed.';

/** Stores an endpoint unless its user has `max` of them already (0 is no limit); `undefined` then. */
export async function insertEndpoint(
  trx: Transaction<Database>,
  { enabled, ...endpoint }: NewEndpoint,
  max: number,
): Promise<EndpointRow | undefined> {
  // Two requests of one user wait for each other here, so that they cannot both be the last that fits.
  await sql`select 1 from users where id = ${endpoint.user_id} for no key update`.execute(trx);
  const { count } = await trx
    .selectFrom('webhook_endpoints')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('user_id', '=', endpoint.user_id)
    .where('deleted_at', 'is', null)
    .executeTakeFirstOrThrow();
  if (max > 0 && Number(count) >= max) return undefined;
  return trx
    .insertInto('webhook_endpoints')
    .values({ ...endpoint, ...(enabled ? {} : { enabled, disabled_reason: 'owner', disabled_at: sql<Date>`now()` }) })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** A page of the endpoints of a user, newest first. */
export async function listEndpoints(
  db: Db,
  userId: string,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: EndpointRow[]; next: string | null }> {
  let query = db
    .selectFrom('webhook_endpoints')
    .selectAll()
    .where('user_id', '=', userId)
    .where('deleted_at', 'is', null)
    .orderBy('id', 'desc')
    .limit(limit + 1);
  if (cursor) query = query.where('id', '<', cursor);
  return pageOf(await query.execute(), limit);
}

/** An endpoint of this user; `undefined` where there is none. */
export async function findEndpoint(db: Db, userId: string, id: string): Promise<EndpointRow | undefined> {
  return db
    .selectFrom('webhook_endpoints')
    .selectAll()
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
}

/** What its owner may change of an endpoint. */
export type EndpointChange = Partial<Pick<EndpointRow, 'name' | 'url' | 'events' | 'enabled'>>;

/** Changes an endpoint; a new address, and being enabled, also let its failures be forgotten. */
export async function updateEndpoint(
  db: Db,
  userId: string,
  id: string,
  { enabled, ...change }: EndpointChange,
): Promise<EndpointRow | undefined> {
  const fresh = enabled === true || change.url !== undefined ? { failing_since: null } : {};
  return (
    db
      .updateTable('webhook_endpoints')
      .set({ ...change, ...fresh, updated_at: sql<Date>`now()` })
      .$if(enabled === true, (query) => query.set({ enabled: true, disabled_reason: null, disabled_at: null }))
      // What is disabled already stays so for its reason.
      .$if(enabled === false, (query) =>
        query.set({
          enabled: false,
          disabled_reason: sql<DisabledReason>`coalesce(disabled_reason, 'owner')`,
          disabled_at: sql<Date>`coalesce(disabled_at, now())`,
        }),
      )
      .where('id', '=', id)
      .where('user_id', '=', userId)
      .where('deleted_at', 'is', null)
      .returningAll()
      .executeTakeFirst()
  );
}

/** Gives an endpoint a new secret; the one before signs too for a while. */
export async function rotateSecret(
  db: Db,
  userId: string,
  id: string,
  secret: Buffer,
  overlapSeconds: number,
): Promise<EndpointRow | undefined> {
  return db
    .updateTable('webhook_endpoints')
    .set({
      secret,
      previous_secret: overlapSeconds > 0 ? sql<Buffer>`secret` : null,
      previous_until: overlapSeconds > 0 ? sql<Date>`now() + ${overlapSeconds}::int * interval '1 second'` : null,
      updated_at: sql<Date>`now()`,
    })
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .where('deleted_at', 'is', null)
    .returningAll()
    .executeTakeFirst();
}

/** Takes an endpoint away with its secrets. The row stays, because its deliveries are the history of tasks. */
export async function removeEndpoint(db: Db, userId: string, id: string): Promise<EndpointRow | undefined> {
  return db
    .updateTable('webhook_endpoints')
    .set({ deleted_at: sql<Date>`now()`, secret: Buffer.alloc(0), previous_secret: null, previous_until: null })
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .where('deleted_at', 'is', null)
    .returningAll()
    .executeTakeFirst();
}

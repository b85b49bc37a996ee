import { type Insertable, type Selectable, sql, type Transaction } from 'kysely';
import type { Db } from './connect.ts';
import { pageOf } from './page.ts';
import type { CollectionTable, Database } from './schema.ts';

export type CollectionRow = Selectable<CollectionTable>;

/** What no text of Postgres holds, but a path may. */
const NUL = '\u0000';

/** The collection of this user by its name. */
export async function findCollection(db: Db, userId: string, name: string): Promise<CollectionRow | undefined> {
  if (name.includes(NUL)) return undefined;
  return db
    .selectFrom('collections')
    .selectAll()
    .where('user_id', '=', userId)
    .where('name', '=', name)
    .where('removed_at', 'is', null)
    .executeTakeFirst();
}

/** A collection, and when it was there, as Postgres writes it. */
export type SeenCollection = CollectionRow & { seen_at: string };

/**
 * The same with a time at which it was there, by the clock of the database. Whoever is just removing it is waited for, so that it is
 * not removed before then: see {@link wasRemovedSince}.
 */
export async function seeCollection(db: Db, userId: string, name: string): Promise<SeenCollection | undefined> {
  if (name.includes(NUL)) return undefined;
  const { rows } = await sql<SeenCollection>`
    select *, clock_timestamp()::text as seen_at from collections
    where user_id = ${userId} and name = ${name} and removed_at is null for key share`.execute(db);
  return rows[0];
}

/** Those of these names that the user has. */
export async function findCollections(db: Db, userId: string, names: string[]): Promise<Map<string, CollectionRow>> {
  const rows = await db
    .selectFrom('collections')
    .selectAll()
    .where('user_id', '=', userId)
    .where('name', '=', sql<string>`any(${names}::text[])`)
    .where('removed_at', 'is', null)
    .execute();
  return new Map(rows.map((row) => [row.name, row]));
}

/** A page of the collections of a user, newest first. */
export async function pageOfCollections(
  db: Db,
  userId: string,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: CollectionRow[]; next: string | null }> {
  let query = db
    .selectFrom('collections')
    .selectAll()
    .where('user_id', '=', userId)
    .where('removed_at', 'is', null)
    .orderBy('id', 'desc')
    .limit(limit + 1);
  if (cursor) query = query.where('id', '<', cursor);
  return pageOf(await query.execute(), limit);
}

/** Every collection of a user, those as well that are being removed. */
export async function listCollections(db: Db, userId: string): Promise<CollectionRow[]> {
  return db.selectFrom('collections').selectAll().where('user_id', '=', userId).orderBy('id').execute();
}

export type NewCollection = Insertable<CollectionTable>;

/**
 * Stores a collection unless the user has one of its name (`exists`), or `max` of them already (`full`; 0 is no limit).
 * Answers the one that is there afterwards, if there is one.
 */
export async function insertCollection(
  trx: Transaction<Database>,
  collection: NewCollection,
  max: number,
): Promise<{ is: 'stored' | 'exists'; row: CollectionRow } | { is: 'full' }> {
  await lockKind(trx, collection, 'shared');
  // Two requests of one user wait for each other here, so that they cannot both be the last that fits.
  await sql`select 1 from users where id = ${collection.user_id} for no key update`.execute(trx);
  const known = await findCollection(trx, collection.user_id, collection.name);
  if (known) return { is: 'exists', row: known };
  const { count } = await trx
    .selectFrom('collections')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('user_id', '=', collection.user_id)
    .where('removed_at', 'is', null)
    .executeTakeFirstOrThrow();
  if (max > 0 && Number(count) >= max) return { is: 'full' };
  const row = await trx.insertInto('collections').values(collection).returningAll().executeTakeFirst();
  return { is: 'stored', row: row as CollectionRow };
}

/** The first vectors of a collection without a model say how long they all are; answers what holds afterwards. */
export async function settleDimensions(db: Db, id: string, dimensions: number): Promise<CollectionRow | undefined> {
  return db.transaction().execute(async (trx) => {
    await lockKind(trx, { embedding_model: null, dimensions }, 'shared');
    const { rows } = await sql<CollectionRow>`
      update collections set dimensions = coalesce(dimensions, ${dimensions}) where id = ${id} and removed_at is null
      returning *`.execute(trx);
    return rows[0];
  });
}

/**
 * Notes the digest of the embedding model of a collection, where it still is the one that it was before; answers what holds
 * afterwards, and nothing where the collection is gone.
 */
export async function adoptModel(
  db: Db,
  id: string,
  { was, is, probe }: { was: string | null; is: string; probe: Buffer },
): Promise<CollectionRow | undefined> {
  await sql`update collections set model_digest = ${is}, model_probe = ${probe}
    where id = ${id} and model_digest is not distinct from ${was}`.execute(db);
  return db
    .selectFrom('collections')
    .selectAll()
    .where('id', '=', id)
    .where('removed_at', 'is', null)
    .executeTakeFirst();
}

/** Whether a collection is still there; what is written into one that is not would stay for ever. */
export async function isThere(db: Db, id: string): Promise<boolean> {
  const { rows } = await sql`select 1 from collections where id = ${id} and removed_at is null`.execute(db);
  return rows.length > 0;
}

/**
 * Takes a collection away from its user at once, and leaves its row to be swept. It leaves its name too, to one that no user can
 * give, so that another can have it.
 */
export async function removeCollection(db: Db, userId: string, name: string): Promise<CollectionRow | undefined> {
  if (name.includes(NUL)) return undefined;
  const { rows } = await sql<CollectionRow>`
    with named as (
      select id, name from collections where user_id = ${userId} and name = ${name} and removed_at is null for update
    ), removed as (
      update collections c set removed_at = clock_timestamp(), sweep_at = clock_timestamp(), name = 'removed:' || c.id
      from named where c.id = named.id
      returning c.*
    ), noted as (
      insert into removed_collections (user_id, name, removed_at)
      select r.user_id, named.name, r.removed_at from removed r join named on named.id = r.id
      on conflict (user_id, name) do update set removed_at = excluded.removed_at
    )
    select * from removed`.execute(db);
  return rows[0];
}

/**
 * Whether the user of a task removed a collection of this name after the task was accepted. To be asked after one was looked for,
 * so that one which was made in its place is not taken for it.
 */
export async function wasRemovedSince(db: Db, taskId: string, name: string): Promise<boolean> {
  const { rows } = await sql`
    select 1 from tasks t join removed_collections r on r.user_id = t.user_id and r.name = ${name}
    where t.id = ${taskId} and r.removed_at >= t.created_at`.execute(db);
  return rows.length > 0;
}

/** How long a removed collection is left to the process that took it. */
const TAKEN_SECONDS = 60;
/** An attempt that began so long after a removal may still have seen what was there before that was committed. */
const COMMIT_SECONDS = 20;

/**
 * Takes removed collections whose time to be looked at has come. `rests` says whether no attempt of their user is at work that
 * began before they were removed, and that it was so the last time as well: nobody writes into them any more.
 */
export async function takeRemoved(db: Db, limit: number): Promise<Array<CollectionRow & { rests: boolean }>> {
  const { rows } = await sql<CollectionRow & { rests: boolean }>`
    with due as (
      select c.id, c.quiet, not exists (
        select from tasks t where t.user_id = c.user_id and t.status in ('running', 'cancelling')
          and t.started_at < c.removed_at + ${COMMIT_SECONDS}::int * interval '1 second') as calm
      from collections c where c.removed_at is not null and c.sweep_at <= now()
      order by c.sweep_at limit ${limit} for update of c skip locked)
    update collections c set sweep_at = now() + ${TAKEN_SECONDS}::int * interval '1 second', quiet = due.calm
    from due where c.id = due.id
    returning c.*, due.calm and due.quiet as rests`.execute(db);
  return rows;
}

/** Looks at a removed collection again after a while. */
export async function sweepLater(db: Db, id: string, ms: number): Promise<void> {
  await sql`update collections set sweep_at = now() + ${ms}::int * interval '1 millisecond' where id = ${id}`.execute(
    db,
  );
}

/** Deletes documents of a removed collection with their chunks, at most `limit` a call; answers how many. */
export async function dropDocuments(db: Db, id: string, limit: number): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from documents where id in (select id from documents where collection_id = ${id} limit ${limit})`.execute(
    db,
  );
  return Number(numAffectedRows ?? 0n);
}

/**
 * Forgets a removed collection of which nothing is left. Where it was the last of its kind, and its vectors were of the user's
 * own making, `last` runs before that holds; until it is over no other of the kind begins. Of models there are few.
 */
export async function forgetCollection(
  db: Db,
  { id, embedding_model, dimensions, distance }: CollectionRow,
  last: () => Promise<void>,
): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await lockKind(trx, { embedding_model, dimensions }, 'alone');
    await trx.deleteFrom('collections').where('id', '=', id).where('removed_at', 'is not', null).execute();
    if (embedding_model !== null || dimensions === null) return;
    const { rows } = await sql`
      select 1 from collections where embedding_model is null and dimensions = ${dimensions} and distance = ${distance}
      limit 1`.execute(trx);
    if (rows.length === 0) await last();
  });
}

/** Whoever begins a collection of vectors of one length waits while the place of such vectors is being dropped. */
async function lockKind(
  trx: Transaction<Database>,
  { embedding_model, dimensions }: Pick<NewCollection, 'embedding_model' | 'dimensions'>,
  how: 'shared' | 'alone',
): Promise<void> {
  if (embedding_model !== null || dimensions === null) return;
  const key = sql`hashtextextended(${`collections of vectors of ${dimensions}`}, 0)`;
  await (how === 'alone'
    ? sql`select pg_advisory_xact_lock(${key})`
    : sql`select pg_advisory_xact_lock_shared(${key})`
  ).execute(trx);
}

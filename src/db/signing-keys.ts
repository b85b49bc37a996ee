import { type Selectable, sql } from 'kysely';
import type { Db } from './connect.ts';
import { IDENTITY_CHANNEL } from './principals.ts';
import type { SigningKeyTable } from './schema.ts';

export type SigningKeyRow = Selectable<SigningKeyTable>;

/** The keys that are taken, the one that signs first. */
export async function listSigningKeys(db: Db): Promise<SigningKeyRow[]> {
  return db
    .selectFrom('signing_keys')
    .selectAll()
    .where((eb) => eb.or([eb('retires_at', 'is', null), eb('retires_at', '>', sql<Date>`now()`)]))
    .orderBy(sql`retires_at desc nulls first`)
    .orderBy('created_at', 'desc')
    .orderBy('kid')
    .execute();
}

/**
 * Stores a key that signs from now on, and tells every process. Those before it are taken for `overlapSeconds` more.
 * Answers `false`, and changes nothing, where the key is or was there: a key that was replaced does not come back.
 */
export async function addSigningKey(
  db: Db,
  { kid, secret, overlapSeconds }: { kid: string; secret: Buffer; overlapSeconds: number },
): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    // Two rotations at the same moment would not see each other's key, and both keys would stay. A statement of its own,
    // because the next must begin after the other is done.
    await sql`lock table signing_keys in share row exclusive mode`.execute(trx);
    const { rows } = await sql`
      with added as (
        insert into signing_keys (kid, secret) values (${kid}, ${secret}) on conflict (kid) do nothing returning kid
      ), replaced as (
        update signing_keys
        set retires_at = least(coalesce(retires_at, 'infinity'), now() + ${overlapSeconds}::int * interval '1 second')
        where exists (select from added) and (retires_at is null or retires_at > now())
      )
      select pg_notify(${IDENTITY_CHANNEL}, 'keys') from added`.execute(trx);
    return rows.length > 0;
  });
}

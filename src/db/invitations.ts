import { type Selectable, sql, type Transaction } from 'kysely';
import type { Db } from './connect.ts';
import { pageOf } from './page.ts';
import type { Database, InvitationTable, Role } from './schema.ts';

/** An invitation without the hash of its token. */
export type InvitationRow = Omit<Selectable<InvitationTable>, 'token_hash'>;

const COLUMNS = ['id', 'email', 'role', 'created_by', 'created_at', 'expires_at', 'used_by', 'used_at'] as const;

/** Stores an invitation that is good for `seconds` from now. */
export async function insertInvitation(
  db: Db,
  {
    seconds,
    ...invitation
  }: {
    id: string;
    token_hash: Buffer;
    email: string | null;
    role: Role;
    created_by: string;
    seconds: number;
  },
): Promise<InvitationRow> {
  return db
    .insertInto('invitations')
    .values({ ...invitation, expires_at: sql<Date>`now() + ${seconds}::int * interval '1 second'` })
    .returning(COLUMNS)
    .executeTakeFirstOrThrow();
}

/** A page of invitations, used ones and expired ones too, newest first. */
export async function listInvitations(
  db: Db,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: InvitationRow[]; next: string | null }> {
  const rows = await db
    .selectFrom('invitations')
    .select(COLUMNS)
    .$if(cursor !== undefined, (query) => query.where('id', '<', cursor as string))
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return pageOf(rows, limit);
}

/** Takes an invitation back; answers whether there was one. */
export async function deleteInvitation(db: Db, id: string): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('invitations').where('id', '=', id).executeTakeFirst();
  return numDeletedRows > 0n;
}

/**
 * The invitation with this token, held until the transaction ends so that nobody else can use it meanwhile; `undefined`
 * where there is none, it was used, it expired, or it is for another e-mail address.
 */
export async function holdInvitation(
  trx: Transaction<Database>,
  tokenHash: Buffer,
  email: string,
): Promise<InvitationRow | undefined> {
  return trx
    .selectFrom('invitations')
    .select(COLUMNS)
    .where('token_hash', '=', tokenHash)
    .where('used_at', 'is', null)
    .where('expires_at', '>', sql<Date>`now()`)
    .where(sql<boolean>`(email is null or lower(email) = ${email.toLowerCase()})`)
    .forUpdate()
    .executeTakeFirst();
}

/** Marks an invitation that is held as used. */
export async function useInvitation(trx: Transaction<Database>, id: string, userId: string): Promise<void> {
  await trx
    .updateTable('invitations')
    .set({ used_at: sql<Date>`now()`, used_by: userId })
    .where('id', '=', id)
    .execute();
}

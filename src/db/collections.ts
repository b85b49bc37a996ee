import type { Selectable } from 'kysely';
import type { Db } from './connect.ts';
import type { CollectionTable } from './schema.ts';

export type CollectionRow = Selectable<CollectionTable>;

/** The collection of this user by its name. */
export async function findCollection(db: Db, userId: string, name: string): Promise<CollectionRow | undefined> {
  return db
    .selectFrom('collections')
    .selectAll()
    .where('user_id', '=', userId)
    .where('name', '=', name)
    .executeTakeFirst();
}

/** Stores the collection unless the user has one of this name; answers the one that is there afterwards. */
export async function ensureCollection(db: Db, collection: Omit<CollectionRow, 'created_at'>): Promise<CollectionRow> {
  await db
    .insertInto('collections')
    .values(collection)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  return db
    .selectFrom('collections')
    .selectAll()
    .where('user_id', '=', collection.user_id)
    .where('name', '=', collection.name)
    .executeTakeFirstOrThrow();
}

/** Every collection of a user. */
export async function listCollections(db: Db, userId: string): Promise<CollectionRow[]> {
  return db.selectFrom('collections').selectAll().where('user_id', '=', userId).orderBy('id').execute();
}

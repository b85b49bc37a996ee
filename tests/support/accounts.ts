import type { Updateable } from 'kysely';
import type { Db } from '../../src/db/connect.ts';
import type { UserTable } from '../../src/db/schema.ts';

/** Changes an account as an administrator would, or anybody else with the database at hand. */
export async function updateUser(db: Db, username: string, change: Updateable<UserTable>): Promise<void> {
  await db.updateTable('users').set(change).where('username', '=', username).execute();
}

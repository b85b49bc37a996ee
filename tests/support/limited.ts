import { sql, type Transaction } from 'kysely';
import type { Db } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/schema.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { claimLimited } from '../../src/db/tasks/claim-limited.ts';
import { lockUsers } from '../../src/db/tasks/holds.ts';
import type { Claim } from '../../src/db/tasks/run.ts';
import { LEASE_MS, newTask } from './tasks.ts';

/** Tasks of users who may run so many at a time, claimed as the second way to claim does it. */
export function useLimited(database: { db: Db; userId: string }) {
  return {
    /** Stores a task of each priority; answers what their jobs would claim. */
    async accept(userId: string, priorities: number[]): Promise<Claim[]> {
      const tasks = priorities.map((priority) => newTask(userId, { priority }));
      return (await acceptTasks(database.db, tasks)).map(({ id }) => ({ id, generation: 0 }));
    },
    claimLeft: (claims: Claim[], everybody = 2) =>
      claimLimited(database.db, 'w', LEASE_MS, claims, { everybody, agingMs: 0 }),
    /** Stands still at the user, as a worker in the middle of a claim does, until the transaction ends. */
    holdUser: (trx: Transaction<Database>) =>
      lockUsers(trx, sql<{ id: string }>`select ${database.userId}::uuid as id`),
  };
}

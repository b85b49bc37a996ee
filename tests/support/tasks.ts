import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import type { Db } from '../../src/db/connect.ts';
import { newId } from '../../src/db/ids.ts';
import { acceptTasks, type NewTask } from '../../src/db/tasks/accept.ts';
import { findTask } from '../../src/db/tasks/read.ts';
import { claimTasks, type Settlement } from '../../src/db/tasks/run.ts';
import { insertUser } from '../../src/db/users.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';

export const LEASE_MS = 60_000;

/** A user in the database; answers the id. */
export async function storeUser(db: Db): Promise<string> {
  const id = newId();
  await insertUser(db, { id, username: id, email: `${id}@example.com`, password_hash: '-', role: 'user' });
  return id;
}

/** A task as the API would accept it. */
export function newTask(userId: string, more: Partial<NewTask> = {}): NewTask {
  return {
    id: newId(),
    user_id: userId,
    type: 'echo',
    lane: 'system',
    title: null,
    priority: 5,
    input: { message: 'hi' },
    max_attempts: 3,
    timeout_ms: 30_000,
    metadata: {},
    tags: [],
    batch_id: null,
    webhook: null,
    request_id: null,
    scheduled_for: null,
    delay_ms: null,
    expires_in_ms: null,
    watched: false,
    ...more,
  };
}

/** The end of an attempt, a success unless told otherwise. */
export function settlement(id: string, attempt: number, more: Partial<Settlement> = {}): Settlement {
  return {
    id,
    attempt,
    status: 'completed',
    outcome: 'completed',
    output: '{"message":"hi"}',
    error: null,
    model: null,
    usage: null,
    delay_ms: 0,
    new_job: false,
    own_webhook: true,
    ...more,
  };
}

/** A database for the tests of a file, emptied before each, and short ways to bring tasks into a state. */
export function useTasks() {
  let test: TestDatabase;
  let userId: string;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());
  beforeEach(async () => {
    await sql`truncate users cascade`.execute(test.db);
    userId = await storeUser(test.db);
  });

  async function accept(more: Partial<NewTask> = {}): Promise<string> {
    const [row] = await acceptTasks(test.db, [newTask(userId, more)]);
    return row!.id;
  }

  return {
    database: {
      get db() {
        return test.db;
      },
      get url() {
        return test.url;
      },
      get userId() {
        return userId;
      },
    },
    accept,
    /** Accepts a task and claims it. */
    async running(more: Partial<NewTask> = {}): Promise<string> {
      const id = await accept(more);
      await claimTasks(test.db, 'w', LEASE_MS, [{ id, generation: 0 }]);
      return id;
    },
    read: async (id: string) => (await findTask(test.db, 'any', id))!,
    loseLease: (id: string) =>
      sql`update tasks set lease_until = now() - interval '1 second' where id = ${id}`.execute(test.db),
    deliveriesOf: (id: string) => test.db.selectFrom('deliveries').selectAll().where('task_id', '=', id).execute(),
  };
}

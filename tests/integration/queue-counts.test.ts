import { sql } from 'kysely';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readQueueCounts } from '../../src/db/queue-counts.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { newTask, storeUser } from '../support/tasks.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.close());

const pending = async () => {
  const { counts } = await readQueueCounts(database.db);
  return counts.find(({ status }) => status === 'pending');
};

it('the queues are counted by one process for all, and not again while the counts are new', async () => {
  const user = await storeUser(database.db);
  await acceptTasks(database.db, [newTask(user), newTask(user)]);
  const asked = await Promise.all(Array.from({ length: 8 }, () => readQueueCounts(database.db)));
  expect(new Set(asked.map(({ counted_at }) => counted_at?.getTime())).size).toBeLessThanOrEqual(2);
  expect(await pending()).toMatchObject({ count: 2, oldest: expect.any(String) });
  await acceptTasks(database.db, [newTask(user)]);
  expect(await pending()).toMatchObject({ count: 2 });
  await sql`update queue_counts set next_at = now()`.execute(database.db);
  expect(await pending()).toMatchObject({ count: 3 });
});

it('whoever set out to count and was lost is waited for a while, not for ever', async () => {
  await acceptTasks(database.db, [newTask(await storeUser(database.db))]);
  // As left by who was killed in between.
  await sql`update queue_counts set next_at = now() + interval '15 seconds'`.execute(database.db);
  expect(await readQueueCounts(database.db)).toMatchObject({ counts: [], counted_at: null });
  await sql`update queue_counts set next_at = next_at - interval '15 seconds'`.execute(database.db);
  expect(await pending()).toMatchObject({ count: 1 });
});

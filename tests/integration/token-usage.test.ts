import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { findUsed } from '../../src/db/limits.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { LEASE_MS, newTask, settlement, storeUser, useTasks } from '../support/tasks.ts';

const { database, running } = useTasks();
const usage = (input_tokens: number, output_tokens: number) => ({ input_tokens, output_tokens, load_ms: 0, run_ms: 0 });
const tokensOf = async (userId: string) => (await findUsed(database.db, [{ userId, upTo: 0 }]))[0]?.tokens;

it('every attempt counts for its user on the present day: retried, failed, cancelled and completed', async () => {
  const { db, userId } = database;
  const id = await running();
  const retry = { status: 'pending', outcome: 'retry', output: null, usage: usage(5, 1) } as const;
  await settleTasks(db, [settlement(id, 1, retry)]);
  expect(await tokensOf(userId)).toBe(6);
  await claimTasks(db, 'w', LEASE_MS, [{ id, generation: 0 }]);
  await sql`update tasks set status = 'cancelling' where id = ${id}`.execute(db);
  await settleTasks(db, [settlement(id, 2, { usage: usage(10, 0) })]);
  expect(await tokensOf(userId)).toBe(16);
  await settleTasks(db, [settlement(id, 2, { usage: usage(1_000, 0) })]);
  expect(await tokensOf(userId)).toBe(16);
  await sql`update token_usage set day = day - 1`.execute(db);
  expect(await tokensOf(userId)).toBe(0);
});

it('the attempts of many users count in one statement, and those that took nothing not at all', async () => {
  const { db, userId } = database;
  const other = await storeUser(db);
  const tasks = await acceptTasks(
    db,
    [userId, other, userId, other].map((owner) => newTask(owner)),
  );
  await claimTasks(
    db,
    'w',
    LEASE_MS,
    tasks.map(({ id }) => ({ id, generation: 0 })),
  );
  const took = [usage(1, 2), null, usage(3, 4), usage(0, 0)];
  await settleTasks(
    db,
    tasks.map(({ id }, at) => settlement(id, 1, { usage: took[at] ?? null })),
  );
  expect([await tokensOf(userId), await tokensOf(other)]).toEqual([10, 0]);
  expect(await db.selectFrom('token_usage').selectAll().where('user_id', '=', other).execute()).toEqual([]);
});

it('what is used is read for many users at once, and waiting tasks are counted up to a bound only', async () => {
  const { db, userId } = database;
  const other = await storeUser(db);
  await acceptTasks(db, [...Array.from({ length: 7 }, () => newTask(userId)), newTask(other, { delay_ms: 60_000 })]);
  const used = await findUsed(db, [
    { userId: other, upTo: 5 },
    { userId, upTo: 5 },
    { userId, upTo: 100 },
    { userId, upTo: 0 },
  ]);
  expect(used.map(({ waiting }) => waiting)).toEqual([1, 5, 7, 0]);
});

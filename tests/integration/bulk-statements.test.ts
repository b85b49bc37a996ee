import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { forgetPayloads } from '../../src/db/tasks/forget.ts';
import { claimTasks, settleTasks, writeProgress } from '../../src/db/tasks/run.ts';
import { cancelTask, cancelTasks, retryTask, retryTasks } from '../../src/db/tasks/steer.ts';
import { LEASE_MS, settlement, storeUser, useTasks } from '../support/tasks.ts';

const { database, accept, running } = useTasks();
const idsOf = (moved: Array<{ id: string }>) => moved.map(({ id }) => id).sort();

it('of the tasks that were chosen only those are run again that had ended before the bulk, also where one ended in between', async () => {
  const { db } = database;
  const before = await running();
  await settleTasks(db, [settlement(before, 1)]);
  const bulk = await accept({ type: 'task.bulk' });
  const after = await running();
  await settleTasks(db, [settlement(after, 1)]);
  expect(idsOf(await retryTasks(db, 'any', [before, after], bulk, null))).toEqual([before]);
  await claimTasks(db, 'w', LEASE_MS, [{ id: before, generation: 1 }]);
  await settleTasks(db, [settlement(before, 2)]);
  expect(await retryTasks(db, 'any', [before, after], bulk, null)).toEqual([]);
});

it('of the tasks that were chosen only those of the owner are moved that are still in a state for it', async () => {
  const { db, userId } = database;
  const [waiting, runs, ended] = [await accept(), await running(), await running()];
  await settleTasks(db, [settlement(ended, 1)]);
  const foreign = await accept();
  await sql`update tasks set user_id = ${await storeUser(db)} where id = ${foreign}`.execute(db);
  const moved = await cancelTasks(db, { userId }, [waiting, runs, ended, foreign], 'by x', 'x');
  expect(idsOf(moved)).toEqual([waiting, runs].sort());
  expect(moved.map(({ status }) => status).sort()).toEqual(['cancelled', 'cancelling']);
});

it('what is deleted is gone from the timeline too, also from the end that a retry took back; that it was retried stays', async () => {
  const { db } = database;
  const error = { code: 'upstream_rejected', message: 'MARK', retryable: false };
  const failed = { status: 'failed', outcome: 'failed', output: null, error } as const;
  const id = await running();
  const fields = { MARK: 1 };
  await writeProgress(db, [], [{ id, attempt: 1, type: 'log', data: { level: 'info', message: 'MARK', fields } }]);
  await settleTasks(db, [settlement(id, 1, failed)]);
  await retryTask(db, 'any', id, 'ann');
  await claimTasks(db, 'w', LEASE_MS, [{ id, generation: 1 }]);
  await settleTasks(db, [settlement(id, 2, failed)]);
  expect(await forgetPayloads(db, 'any', [id])).toEqual([id]);
  const events = await db.selectFrom('task_events').select(['type', 'data']).where('task_id', '=', id).execute();
  expect(events).toMatchObject([
    { type: 'retried', data: { by: 'ann', status: 'failed', error: { code: 'upstream_rejected' } } },
  ]);
  const { rows } = await sql`
    select from (select e::text from task_events e union all select a::text from attempts a union all select t::text from tasks t)
      as all_rows(row) where row like '%MARK%'`.execute(db);
  expect(rows).toEqual([]);
});

it('the name of a concurrency key is deleted with the rest that its user wrote, also of a task that was held back by it', async () => {
  const { db } = database;
  const id = await accept({ concurrency_key: 'MARK', concurrency_limit: 1, concurrency_policy: 'queue' });
  await sql`update tasks set held_by = 'key MARK' where id = ${id}`.execute(db);
  await cancelTask(db, 'any', id, 'by ann');
  await forgetPayloads(db, 'any', [id]);
  expect((await sql`select from tasks t where t::text like '%MARK%'`.execute(db)).rows).toEqual([]);
});

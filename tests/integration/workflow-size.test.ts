import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDb, createPool, type Db } from '../../src/db/connect.ts';
import { restartRun } from '../../src/db/workflows/restart.ts';
import { insertRun, lockRun } from '../../src/db/workflows/runs.ts';
import { createLog } from '../../src/log.ts';
import { useTasks } from '../support/tasks.ts';
import { createDriver, type Driver } from '../support/workflow-driver.ts';

const { database, accept } = useTasks();
let driver: Driver;
let db: Db;
beforeAll(() => {
  // What one session has read, it tells when it is asked to.
  db = createDb(createPool({ url: database.url, max: 1, name: 'one', log: createLog('silent') }));
  driver = createDriver(db, { window: 50 });
});
afterAll(async () => {
  await driver.close();
  await db.destroy();
});

const STEPS = 10_000;

/** Rows of steps that Postgres has handed out since the database was made: read, found by an index or not. */
async function rowsRead(): Promise<number> {
  await sql`select pg_stat_force_next_flush()`.execute(db);
  const { rows } = await sql<{ n: number }>`
    select coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::int as n from pg_stat_user_tables where relname = 'workflow_steps'`.execute(
    db,
  );
  return rows[0]?.n ?? 0;
}

it('of a workflow of 10,000 steps no more rows are looked at than steps move on, and no more tasks wait than may', async () => {
  const steps = Array.from({ length: STEPS }, (_, n) => ({
    ...{ id: `s${n}`, type: 'echo', input: { message: 'x' } },
    ...(n < STEPS / 2 ? {} : { needs: [`s${n - STEPS / 2}`] }),
  }));
  const id = await accept({ type: 'workflow', input: { steps } });
  const [whole] = await driver.waiting();
  await driver.work(whole!, { output: null });
  await sql`analyze workflow_steps, workflow_edges`.execute(db);
  expect(await driver.waiting()).toHaveLength(50);

  const before = await rowsRead();
  for (let round = 0; round < 4; round++) {
    for (const task of (await driver.waiting()).slice(0, 20)) await driver.work(task, { output: task.input });
    await driver.engine.moveOn(id);
    expect(await driver.waiting()).toHaveLength(50);
  }
  expect((await rowsRead()) - before).toBeLessThan(80 * 20);
});

it('a chain begins again without each step being held against all others', async () => {
  const length = 3_000;
  const steps = Array.from({ length }, (_, n) => ({ id: `s${n}`, needs: n > 0 ? [`s${n - 1}`] : [], definition: {} }));
  const id = await accept({ type: 'workflow', input: {} });
  await insertRun(db, { id, depth: 0, input: null, output: undefined, steps });
  await sql`update workflow_steps set status = 'failed', needs_left = 0 where workflow_id = ${id}`.execute(db);
  await db.transaction().execute(async (trx) => {
    await lockRun(trx, id);
    // It takes a fraction of that, and several times as long where each step is compared with each.
    await sql`set local statement_timeout = '1500ms'`.execute(trx);
    await restartRun(trx, id, false);
  });
  const all = await driver.steps(id);
  expect(all.map(({ status, needs_left }) => `${status} ${needs_left}`)).toEqual([
    'ready 0',
    ...Array(length - 1).fill('waiting 1'),
  ]);
});

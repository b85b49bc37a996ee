import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { setUserLimits } from '../../src/db/limits.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { findTask } from '../../src/db/tasks/read.ts';
import { settleTasks } from '../../src/db/tasks/run.ts';
import { createLog } from '../../src/log.ts';
import { createClaims } from '../../src/workers/claims.ts';
import { openLanes } from '../support/lanes.ts';
import { useLimited } from '../support/limited.ts';
import { LEASE_MS, newTask, settlement, storeUser, useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';

describe('handing places on', () => {
  const { database } = useTasks();
  const { accept, claimLeft, holdUser } = useLimited(database);

  it('keeps no round of the reconciler from the tasks of others while a worker is at one user for too long', async () => {
    await claimLeft(await accept(database.userId, [5, 5, 5]));
    const other = await storeUser(database.db);
    const [due] = await acceptTasks(database.db, [newTask(other, { delay_ms: 50 })]);
    const lanes = await openLanes('postgres', database);
    const statusOf = async () => (await findTask(database.db, 'any', due!.id))?.status;
    await database.db.transaction().execute(async (trx) => {
      await holdUser(trx);
      expect(await lanes.reconciler.runOnce()).toMatchObject({ called: 0 });
    });
    expect(await statusOf()).toBe('pending');
    expect(await lanes.reconciler.runOnce()).toMatchObject({ called: 1 });
    await lanes.close();
  });

  it('calls at once whom it held back in the moment in which a place came free', async () => {
    const [first, second] = await accept(database.userId, [5, 5]);
    await setUserLimits(database.db, database.userId, { running_tasks: 1 });
    await claimLeft([first!], 0);
    const lanes = await openLanes('postgres', database);
    const claims = createClaims({
      ...{ db: database.db, name: 'w', leaseMs: LEASE_MS, everybody: 0, agingMs: 0, log: createLog('silent') },
      ...{ onCalled: () => {}, onError: () => {}, onHeld: (held) => void lanes.places.freed(held) },
    });
    // It has counted what runs, and is about to say that it holds the task back.
    await sql`create function wait_here() returns trigger language plpgsql as $$
      begin perform pg_advisory_xact_lock(7); return new; end $$`.execute(database.db);
    await sql`create trigger wait_here before update of held_by on tasks for each row
      when (new.held_by is not null and not new.called) execute function wait_here()`.execute(database.db);
    const claiming = await database.db.transaction().execute(async (trx) => {
      await sql`select pg_advisory_xact_lock(7)`.execute(trx);
      const claiming = claims.claim(second!);
      await until('it is there', async () => {
        const { rows } = await sql`select 1 from pg_locks where locktype = 'advisory' and objid = 7 and not granted
          and database = (select oid from pg_database where datname = current_database())`.execute(database.db);
        return rows.length > 0;
      });
      await settleTasks(database.db, [settlement(first!.id, 1)]);
      await lanes.places.freed([{ user_id: database.userId, concurrency_key: null }]);
      return { claiming };
    });
    expect(await claiming.claiming).toBeUndefined();
    await until('it is called', async () => (await findTask(database.db, 'any', second!.id))?.called);
    await sql`drop function wait_here cascade`.execute(database.db);
    await lanes.close();
  });
});

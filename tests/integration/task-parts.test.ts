import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { acceptTasks, type NewTask } from '../../src/db/tasks/accept.ts';
import { claimLimited } from '../../src/db/tasks/claim-limited.ts';
import { forgetPayloads } from '../../src/db/tasks/forget.ts';
import { storeMemo } from '../../src/db/tasks/memos.ts';
import { expireTasks } from '../../src/db/tasks/repair.ts';
import { claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { cancelTask, cancelTasks, supersedeTasks } from '../../src/db/tasks/steer.ts';
import { endForsaken } from '../../src/db/tasks/stop.ts';
import { insertRun, lockRun } from '../../src/db/workflows/runs.ts';
import { LEASE_MS, newTask, settlement, useTasks } from '../support/tasks.ts';

const { database, accept, running, read, deliveriesOf } = useTasks();
const webhook = { url: 'http://127.0.0.1/', events: ['task.cancelled'], secret: 'AAAA' };

const park = (id: string) =>
  settleTasks(database.db, [
    settlement(id, 1, {
      ...{ status: 'running', outcome: 'parked', output: null },
      park: { awaiting: 'steps', until_ms: null, signals: 0 },
    }),
  ]);

async function parked(more: Partial<NewTask> = {}): Promise<string> {
  const id = await running(more);
  await park(id);
  return id;
}

/** A parked task with a part that waits, one that runs, one that has ended, and one that is parked itself and has a part. */
async function family(more: Partial<NewTask> = {}) {
  const parent_id = await parked(more);
  const ids = {
    waits: await accept({ parent_id, webhook }),
    later: await accept({ parent_id, delay_ms: 60_000 }),
    runs: await running({ parent_id, webhook }),
    ended: await running({ parent_id }),
    parked: await parked({ parent_id, webhook }),
  };
  await settleTasks(database.db, [settlement(ids.ended, 1)]);
  const grandchild = await accept({ parent_id: ids.parked });
  return { parent: parent_id, ...ids, grandchild };
}

const statusesOf = async (ids: Record<string, string>) => {
  const all = await Promise.all(Object.entries(ids).map(async ([name, id]) => [name, (await read(id)).status]));
  return Object.fromEntries(all);
};

const STOPPED = {
  ...{ parent: 'cancelled', waits: 'cancelled', later: 'cancelled', runs: 'cancelling', ended: 'completed' },
  ...{ parked: 'cancelled', grandchild: 'cancelled' },
};

describe('the parts of a task', () => {
  it('are stopped with it, whatever they do, and say that it was for that', async () => {
    const ids = await family();
    const other = await accept();
    const moved = await cancelTask(database.db, 'any', ids.parent, 'by ada', 'ada');
    expect(moved).toMatchObject({ id: ids.parent, status: 'cancelled' });
    expect(moved?.parts.map(({ id }) => id).sort()).toEqual(
      [ids.waits, ids.later, ids.runs, ids.parked, ids.grandchild].sort(),
    );
    expect(await statusesOf(ids)).toEqual(STOPPED);
    expect((await read(other)).status).toBe('pending');
    expect((await read(ids.parent)).cancel_reason).toBe('by ada');
    expect((await read(ids.grandchild)).cancel_reason).toBe('parent');
    expect(await deliveriesOf(ids.waits)).toHaveLength(1);
    expect(await deliveriesOf(ids.parked)).toHaveLength(1);
    expect(await deliveriesOf(ids.runs)).toHaveLength(0);
    await settleTasks(database.db, [settlement(ids.runs, 1)]);
    expect((await read(ids.runs)).status).toBe('cancelled');
    expect(await cancelTask(database.db, 'any', ids.parent, 'again')).toBeUndefined();
  });

  it('are stopped by its deadline, and by a newer task of its key, as they are by a cancel', async () => {
    const late = await family();
    await sql`update tasks set expires_at = now() where id = ${late.parent}`.execute(database.db);
    await expireTasks(database.db, 10);
    expect(await statusesOf(late)).toEqual(STOPPED);
    expect((await read(late.parent)).cancel_reason).toBe('deadline');
    const keyed = await family({ concurrency_key: 'k', concurrency_limit: 1, concurrency_policy: 'cancel_running' });
    await supersedeTasks(database.db, [{ user_id: database.userId, key: 'k', most: 0 }]);
    expect(await statusesOf(keyed)).toEqual(STOPPED);
  });

  it('go on where one of them is stopped alone', async () => {
    const ids = await family();
    await cancelTasks(database.db, 'any', [ids.waits, ids.parked], 'by ada', 'ada');
    expect(await statusesOf(ids)).toEqual({
      ...{ parent: 'running', waits: 'cancelled', later: 'scheduled', runs: 'running', ended: 'completed' },
      ...{ parked: 'cancelled', grandchild: 'cancelled' },
    });
    expect((await read(ids.parked)).cancel_reason).toBe('by ada');
  });

  it('do not escape a stop that comes while they are added, nor are added after it', async () => {
    for (let round = 0; round < 12; round++) {
      const parent_id = await parked({ type: 'workflow' });
      await insertRun(database.db, { id: parent_id, depth: 0, input: null, output: undefined, steps: [] });
      const add = () =>
        database.db.transaction().execute(async (trx) => {
          if ((await lockRun(trx, parent_id))?.status !== 'running') return [];
          return acceptTasks(trx, [newTask(database.userId, { parent_id }), newTask(database.userId, { parent_id })]);
        });
      const stop = () => cancelTask(database.db, 'any', parent_id, 'user');
      const [first, , second] = await Promise.all([add(), stop(), add()]);
      for (const { id } of [...first, ...second]) expect((await read(id)).status).toBe('cancelled');
      expect(await add()).toEqual([]);
    }
  });
});

describe('places', () => {
  const claimOne = (id: string, everybody: number) =>
    claimLimited(database.db, 'w', LEASE_MS, [{ id, generation: 0 }], { everybody, agingMs: 0 });

  it('of a user are free of parked tasks, so that their parts can run', async () => {
    const parent_id = await parked();
    const [part, other] = [await accept({ parent_id }), await accept()];
    expect((await claimOne(part, 1)).claimed).toMatchObject([{ id: part }]);
    expect((await claimOne(other, 1)).claimed).toEqual([undefined]);
  });

  it('of a key stay with a parked task', async () => {
    const key = { concurrency_key: 'k', concurrency_limit: 1, concurrency_policy: 'queue' as const };
    const first = await accept(key);
    const [, second] = [await claimOne(first, 0), await accept(key)];
    await park(first);
    expect((await claimOne(second, 0)).claimed).toEqual([undefined]);
    expect((await read(second)).held_by).toBe('key k');
  });
});

describe('a parked task', () => {
  it('that an older process began to cancel comes to an end', async () => {
    const [forsaken, other] = [await parked({ webhook }), await parked()];
    await sql`update tasks set status = 'cancelling' where id = ${forsaken}`.execute(database.db);
    expect(await endForsaken(database.db, 10)).toMatchObject([{ id: forsaken, status: 'cancelled' }]);
    expect(await deliveriesOf(forsaken)).toHaveLength(1);
    expect((await read(other)).status).toBe('running');
    expect(await endForsaken(database.db, 10)).toEqual([]);
  });

  it('that an older process began to cancel takes its parts along, and its workflow hears of it', async () => {
    const workflow = await parked();
    const ids = await family({ parent_id: workflow });
    await sql`update tasks set status = 'cancelling' where id = ${ids.parent}`.execute(database.db);
    await endForsaken(database.db, 10);
    expect(await statusesOf(ids)).toEqual(STOPPED);
    const ends = await database.db
      .selectFrom('workflow_ends')
      .select('child_id')
      .where('workflow_id', '=', workflow)
      .execute();
    expect(ends).toEqual([{ child_id: ids.parent }]);
  });

  it('loses what its parts came to with its payload, and not before', async () => {
    const id = await running();
    await storeMemo(database.db, { id, attempt: 1, name: 'a', kind: 'step', value: '1', ms: 1 });
    await settleTasks(database.db, [settlement(id, 1)]);
    const memos = () => database.db.selectFrom('task_memos').select('name').where('task_id', '=', id).execute();
    expect(await memos()).toHaveLength(1);
    await forgetPayloads(database.db, 'any', [id]);
    expect(await memos()).toEqual([]);
    expect(await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }])).toEqual([undefined]);
  });
});

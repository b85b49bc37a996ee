import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { deleteTasks } from '../../src/db/tasks/retention.ts';
import { createLog } from '../../src/log.ts';
import { noRepairs } from '../../src/queues/repairs.ts';
import { createRetention, type RetentionDays } from '../../src/queues/retention.ts';
import { storeOldTasks } from '../support/old-tasks.ts';
import { useTasks } from '../support/tasks.ts';

const FOR_EVER: RetentionDays = { completed: 0, failed: 0, cancelled: 0, expired: 0, payload: 0 };

describe('what has ended', () => {
  const { database, accept, running, read } = useTasks();

  /** A retention that has seen everything once; `again` lets it see everything once more. */
  async function keep(days: Partial<RetentionDays>) {
    const repairs = noRepairs();
    const log = createLog('silent');
    const retention = createRetention({ db: database.db, days: { ...FOR_EVER, ...days }, repairs, log });
    const again = async () => {
      retention.restart();
      await retention.goOn(Number.POSITIVE_INFINITY);
    };
    await again();
    return { repairs, again, retention };
  }
  const store = async (more: Partial<Parameters<typeof storeOldTasks>[1]> & { made: number; ended: number }) =>
    storeOldTasks(database.db, { userId: database.userId, ...more });
  const left = async () =>
    (await database.db.selectFrom('tasks').select('id').orderBy('id').execute()).map(({ id }) => id);
  const count = async (table: string) =>
    Number((await sql<{ n: string }>`select count(*) as n from ${sql.table(table)}`.execute(database.db)).rows[0]?.n);

  it('is deleted after the days of its status, with its attempts and deliveries, and no earlier', async () => {
    const kept = [
      ...(await store({ status: 'failed', made: 9.5, ended: 9.5 })),
      ...(await store({ status: 'cancelled', made: 50, ended: 50 })),
      ...(await store({ status: 'completed', made: 4.9, ended: 4.9 })),
      ...(await store({ status: 'completed', made: 60, ended: 1 })),
    ];
    await store({ status: 'completed', made: 5.1, ended: 5.1, attempts: 3, delivery: 'delivered' });
    await store({ status: 'completed', made: 90, ended: 6, delivery: 'failed' });
    await store({ status: 'failed', made: 10.1, ended: 10.1 });
    await store({ status: 'expired', made: 1.1, ended: 1.1 });
    const { repairs } = await keep({ completed: 5, failed: 10, expired: 1 });
    expect(await left()).toEqual(kept.sort());
    expect(repairs).toMatchObject({ forgotten: 4, emptied: 0 });
    expect([await count('attempts'), await count('deliveries'), await count('delivery_attempts')]).toEqual([4, 0, 0]);
  });

  it('is kept as a part of another one for as long as that, and no longer', async () => {
    const [young] = await store({ status: 'failed', made: 30, ended: 2 });
    const [old] = await store({ status: 'completed', made: 30, ended: 6 });
    const parts = await store({ status: 'completed', made: 29, ended: 29, count: 4 });
    const [late] = await store({ status: 'failed', made: 28, ended: 7 });
    await sql`update tasks set parent_id = case when id = any(${parts.slice(0, 2)}::uuid[]) then ${young}::uuid else ${old}::uuid end
      where id = any(${[...parts, late]}::uuid[])`.execute(database.db);
    const { again } = await keep({ completed: 5, failed: 20, payload: 3 });
    expect(await left()).toEqual([young, old, ...parts.slice(0, 2)].sort());
    expect((await read(parts[0] as string)).payload_deleted_at).toBeNull();
    await again();
    expect(await left()).toEqual([young, ...parts.slice(0, 2)].sort());
  });

  it('is kept for ever where its days are 0', async () => {
    const old = await store({ made: 4_000, ended: 4_000 });
    await keep({ failed: 1, cancelled: 1, expired: 1 });
    expect(await left()).toEqual(old);
  });

  it('is not what waits or runs, however old', async () => {
    const ids = [await accept(), await running()];
    await sql`update tasks set created_at = now() - interval '90 days', id = overlay(id::text placing '0180' from 1 for 4)::uuid`.execute(
      database.db,
    );
    await keep({ completed: 1, failed: 1, cancelled: 1, expired: 1, payload: 1 });
    expect(await left()).toHaveLength(ids.length);
    expect(await count('tasks')).toBe(2);
  });

  it('is kept while a webhook is still to hear of it', async () => {
    const [pending] = await store({ made: 9, ended: 9, delivery: 'pending' });
    const [sending] = await store({ made: 9, ended: 9, delivery: 'running' });
    const { again } = await keep({ completed: 5, payload: 1 });
    expect(await left()).toEqual([pending, sending].sort());
    expect(await read(pending as string)).toMatchObject({ title: 'old', payload_deleted_at: null });
    await sql`update deliveries set status = 'delivered'`.execute(database.db);
    await again();
    expect(await left()).toEqual([]);
  });

  it('loses its payload earlier where that has days of its own, once', async () => {
    const [id = ''] = await store({ made: 3, ended: 3 });
    const [young = ''] = await store({ made: 1, ended: 1 });
    const { repairs, again } = await keep({ completed: 5, payload: 2 });
    const emptied = await read(id);
    expect(emptied).toMatchObject({ input: null, output: null, title: null, status: 'completed' });
    await again();
    expect((await read(id)).payload_deleted_at).toEqual(emptied.payload_deleted_at);
    expect(await read(young)).toMatchObject({ input: { message: 'old' }, payload_deleted_at: null });
    expect(repairs).toMatchObject({ forgotten: 0, emptied: 1 });
  });

  it('goes in pages, and what is in between and not yet over does not hold them up', async () => {
    await store({ count: 1_500, made: 20, ended: 20 });
    const kept = await store({ count: 1_500, made: 15, ended: 2 });
    await store({ count: 1_500, made: 10, ended: 10 });
    const { repairs } = await keep({ completed: 5 });
    expect(repairs.forgotten).toBe(3_000);
    expect(await count('tasks')).toBe(kept.length);
  });

  it('goes a little at a time where it is given little time, and then goes on where it stopped', async () => {
    const { repairs, retention } = await keep({ completed: 5 });
    retention.restart();
    await store({ count: 3_000, made: 20, ended: 20 });
    // Where that millisecond is over before it looks, it has done nothing yet.
    while (repairs.forgotten === 0) await retention.goOn(Date.now() + 1);
    expect(await count('tasks')).toBe(3_000 - repairs.forgotten);
    expect(await count('tasks')).toBeGreaterThan(0);
    for (let n = 0; n < 3_000 && repairs.forgotten < 3_000; n++) await retention.goOn(Date.now() + 1);
    expect(await count('tasks')).toBe(0);
  });

  it('is left alone while somebody else holds it, and nobody waits', async () => {
    const [held = ''] = await store({ made: 20, ended: 20 });
    await store({ made: 20, ended: 20 });
    const { again } = await database.db.transaction().execute(async (trx) => {
      await sql`select 1 from tasks where id = ${held} for update`.execute(trx);
      const kept = await keep({ completed: 5 });
      expect(await left()).toEqual([held]);
      return kept;
    });
    await again();
    expect(await left()).toEqual([]);
  });

  it('is not deleted when it was run again meanwhile', async () => {
    const [id = ''] = await store({ made: 20, ended: 20 });
    await sql`update tasks set status = 'pending', completed_at = null`.execute(database.db);
    expect(await deleteTasks(database.db, [id], { ...FOR_EVER, completed: 5 })).toBe(0);
    await sql`update tasks set status = 'completed', completed_at = now()`.execute(database.db);
    expect(await deleteTasks(database.db, [id], { ...FOR_EVER, completed: 5 })).toBe(0);
    expect(await left()).toEqual([id]);
  });
});

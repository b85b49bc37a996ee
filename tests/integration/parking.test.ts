import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { storeMemo } from '../../src/db/tasks/memos.ts';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { expireTasks, rescueTasks } from '../../src/db/tasks/repair.ts';
import { claimTasks, renewLeases, type Settlement, settleTasks, writeProgress } from '../../src/db/tasks/run.ts';
import { sendSignals, signalTasks, wakeLate } from '../../src/db/tasks/signal.ts';
import { cancelTask, retryTask } from '../../src/db/tasks/steer.ts';
import { LEASE_MS, newTask, settlement, useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const { database, accept, running, read, loseLease, deliveriesOf } = useTasks();

const parking = (id: string, attempt: number, more: Partial<Settlement['park']> = {}) =>
  settlement(id, attempt, {
    ...{ status: 'running', outcome: 'parked', output: null },
    park: { awaiting: 'callback', until_ms: null, signals: 0, ...more },
  });

async function park(id: string, attempt: number, more: Partial<Settlement['park']> = {}) {
  return (await settleTasks(database.db, [parking(id, attempt, more)]))[0];
}

async function parked(more: Parameters<typeof accept>[0] = {}): Promise<string> {
  const id = await running(more);
  await park(id, 1);
  return id;
}

const memosOf = (id: string) =>
  database.db.selectFrom('task_memos').select(['name', 'value', 'attempt']).where('task_id', '=', id).execute();
const outcomesOf = async (id: string) => (await listAttempts(database.db, id)).map(({ outcome }) => outcome);

describe('parking', () => {
  it('leaves a task running that nobody holds, in the ledger and without counting as a failure', async () => {
    const id = await running();
    expect(await park(id, 1, { until_ms: 60_000 })).toMatchObject({ status: 'running', generation: 0 });
    const row = await read(id);
    expect(row).toMatchObject({
      ...{ status: 'running', lease_until: null, awaiting: 'callback', failures: 0, losses: 0, completed_at: null },
    });
    expect(row.awaiting_until!.getTime()).toBeGreaterThan(Date.now() + 50_000);
    expect(await outcomesOf(id)).toEqual(['parked']);
    expect(await rescueTasks(database.db, 10)).toEqual([]);
    expect(await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }])).toEqual([undefined]);
  });

  it('cannot be undone by what its worker still says: the attempt has ended', async () => {
    const id = await parked();
    expect(await park(id, 1)).toBeUndefined();
    expect(await settleTasks(database.db, [settlement(id, 1)])).toEqual([undefined]);
    expect(await renewLeases(database.db, LEASE_MS, [{ id, attempt: 1 }])).toEqual([]);
    await writeProgress(database.db, [{ id, attempt: 1, percent: 7, message: null }]);
    const memo = { id, attempt: 1, name: 'late', kind: 'step', value: '1', ms: 1 };
    expect(await storeMemo(database.db, memo)).toBe('lost');
    expect(await read(id)).toMatchObject({ status: 'running', lease_until: null, progress: null });
    expect(await outcomesOf(id)).toEqual(['parked']);
  });

  it('does not take place where somebody signalled since the claim, and does where that was before', async () => {
    const id = await running();
    expect(await signalTasks(database.db, [{ id }])).toEqual([]);
    expect(await park(id, 1)).toMatchObject({ status: 'pending', generation: 1 });
    expect(await read(id)).toMatchObject({ status: 'pending', awaiting: null, awaiting_until: null });
    const [again] = await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 1 }]);
    expect(again).toMatchObject({ attempt: 2, signals: 1 });
    expect(await park(id, 2, { signals: 1 })).toMatchObject({ status: 'running' });
    expect(await outcomesOf(id)).toEqual(['parked', 'parked']);
  });

  it('ends a task that is being cancelled', async () => {
    const id = await running({ webhook: { url: 'http://127.0.0.1/', events: ['task.cancelled'], secret: 'AAAA' } });
    await cancelTask(database.db, 'any', id, 'user');
    expect(await park(id, 1)).toMatchObject({ status: 'cancelled', deliveries: [expect.any(String)] });
    expect(await read(id)).toMatchObject({ status: 'cancelled', awaiting: null });
    expect(await outcomesOf(id)).toEqual(['cancelled']);
  });

  it('forgives the workers that were lost before', async () => {
    const id = await running();
    await loseLease(id);
    await rescueTasks(database.db, 10);
    await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 1 }]);
    expect((await read(id)).losses).toBe(1);
    await park(id, 2);
    expect(await read(id)).toMatchObject({ losses: 0, awaiting: 'callback' });
  });

  it('goes with other outcomes in one statement', async () => {
    const [a, b, c] = [await running(), await running(), await running()];
    const settled = [settlement(a, 1), parking(b, 1), settlement(c, 1, { status: 'pending', outcome: 'retry' })];
    const moved = await settleTasks(database.db, settled);
    expect(moved.map((one) => one?.status)).toEqual(['completed', 'running', 'pending']);
    expect(await read(a)).toMatchObject({ status: 'completed', awaiting: null, output: { message: 'hi' } });
    expect(await read(c)).toMatchObject({ failures: 1, awaiting: null, completed_at: null });
  });
});

describe('a signal', () => {
  it('wakes a parked task once, in a new generation and at its place in line, and keeps what it brings', async () => {
    const id = await parked();
    const before = await read(id);
    const memo = { name: 'callback:a', value: { text: 'nul \u0000 here', n: null } };
    const [moved] = await signalTasks(database.db, [{ id, memo }]);
    expect(moved).toMatchObject({ id, status: 'pending', generation: 1, deliveries: null });
    const row = await read(id);
    expect(row).toMatchObject({ status: 'pending', awaiting: null, signals: 1, held_by: null });
    expect(row.queued_at).toEqual(before.ready_at);
    expect(await memosOf(id)).toEqual([{ name: 'callback:a', value: memo.value, attempt: 1 }]);
    expect(await signalTasks(database.db, [{ id }])).toEqual([]);
    expect(await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }])).toEqual([undefined]);
    expect(await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 1 }])).toMatchObject([{ signals: 2 }]);
  });

  it('with a memo counts once, whoever sends the other one when', async () => {
    const id = await parked();
    const send = (value: unknown) => sendSignals(database.db, [{ id, memo: { name: 'callback:a', value } }]);
    const all = (await Promise.all([1, 2, 3, 4, 5, 6].map(send))).flat();
    expect(all.filter(({ is }) => is === 'taken')).toHaveLength(1);
    expect(all.filter(({ is }) => is === 'used')).toHaveLength(5);
    expect((await read(id)).signals).toBe(1);
    const twice = [null, 2].map((value) => ({ id, memo: { name: 'callback:b', value } }));
    expect((await sendSignals(database.db, twice)).map(({ is }) => is)).toEqual(['taken', 'used']);
    expect((await memosOf(id)).find(({ name }) => name === 'callback:b')?.value).toBeNull();
  });

  it('is for a task that has not ended, in the life that it is meant for', async () => {
    const id = await parked();
    await cancelTask(database.db, 'any', id, 'user');
    const to = (life?: number) => ({ id, life, memo: { name: 'callback:a', value: 1 } });
    expect(await sendSignals(database.db, [to(0)])).toEqual([{ is: 'gone' }]);
    await retryTask(database.db, 'any', id);
    expect((await read(id)).life).toBe(1);
    expect(await sendSignals(database.db, [to(0)])).toEqual([{ is: 'gone' }]);
    expect(await memosOf(id)).toEqual([]);
    expect(await sendSignals(database.db, [to(1)])).toEqual([{ is: 'taken', woken: undefined }]);
    expect(await sendSignals(database.db, [{ id: newTask(database.userId).id }])).toEqual([{ is: 'gone' }]);
  });

  it('is never missed by an attempt that parks at the same moment', async () => {
    for (let round = 0; round < 15; round++) {
      const ids = await Promise.all([1, 2, 3].map(() => running()));
      await Promise.all([
        ...ids.map((id) => park(id, 1)),
        signalTasks(
          database.db,
          ids.toReversed().map((id) => ({ id })),
        ),
      ]);
      for (const id of ids) {
        expect(await read(id)).toMatchObject({ status: 'pending', generation: 1, awaiting: null });
        expect(await outcomesOf(id)).toEqual(['parked']);
      }
    }
  });

  it('that comes with a cancel leaves a task cancelled, or not woken', async () => {
    for (let round = 0; round < 10; round++) {
      const id = await parked();
      await Promise.all([cancelTask(database.db, 'any', id, 'user'), signalTasks(database.db, [{ id }])]);
      expect(await read(id)).toMatchObject({ status: 'cancelled', awaiting: null });
    }
  });
});

describe('a parked task', () => {
  it('is woken when its time is over, and not before', async () => {
    const [late, early, ever] = [await running(), await running(), await running()];
    await park(late, 1, { until_ms: 0 });
    await park(early, 1, { until_ms: 60_000 });
    await park(ever, 1);
    expect((await wakeLate(database.db, 10)).map(({ id, status }) => [id, status])).toEqual([[late, 'pending']]);
    expect((await read(late)).awaiting_until).toBeNull();
    expect(await wakeLate(database.db, 10)).toEqual([]);
  });

  it('is cancelled at once, and by its deadline, because nobody holds it', async () => {
    const webhook = { url: 'http://127.0.0.1/', events: ['task.cancelled'], secret: 'AAAA' };
    const [a, b] = [await parked({ webhook }), await parked({ webhook })];
    expect(await cancelTask(database.db, 'any', a, 'user')).toMatchObject({ status: 'cancelled', parts: [] });
    await sql`update tasks set expires_at = now() where id = ${b}`.execute(database.db);
    expect(await expireTasks(database.db, 10)).toMatchObject([{ id: b, status: 'cancelled' }]);
    for (const id of [a, b]) {
      expect(await read(id)).toMatchObject({ awaiting: null, awaiting_until: null, completed_at: expect.any(Date) });
      expect(await deliveriesOf(id)).toMatchObject([{ event: 'task.cancelled' }]);
      expect(await outcomesOf(id)).toEqual(['parked']);
    }
  });
});

describe('a memo', () => {
  const memo = (id: string, attempt: number, name = 'a') =>
    storeMemo(database.db, { id, attempt, name, kind: 'step', value: `"of ${attempt}"`, ms: 5 });

  it('is stored by the attempt that holds the task, once, and outlives it but not an explicit retry', async () => {
    const id = await running();
    expect(await memo(id, 1)).toBe('stored');
    expect(await memo(id, 1)).toBe('taken');
    await loseLease(id);
    await rescueTasks(database.db, 10);
    expect(await memo(id, 1, 'b')).toBe('lost');
    await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 1 }]);
    expect(await memo(id, 1, 'b')).toBe('lost');
    expect(await memo(id, 2)).toBe('taken');
    expect(await memosOf(id)).toEqual([{ name: 'a', value: 'of 1', attempt: 1 }]);
    await settleTasks(database.db, [settlement(id, 2, { status: 'failed', outcome: 'failed' })]);
    expect(await memosOf(id)).toHaveLength(1);
    await retryTask(database.db, 'any', id);
    expect(await memosOf(id)).toEqual([]);
  });

  it('is not stored by an attempt from which its task is being taken away', async () => {
    const id = await running();
    await loseLease(id);
    const stored = await database.db.transaction().execute(async (trx) => {
      await rescueTasks(trx, 10);
      const late = { is: memo(id, 1), ended: false };
      void late.is.finally(() => {
        late.ended = true;
      });
      const waits = sql<object>`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      await until('it waits', async () => late.ended || (await waits.execute(trx)).rows.length > 0);
      return late;
    });
    expect(await stored.is).toBe('lost');
    expect(await memosOf(id)).toEqual([]);
  });
});

import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { expireTasks, promoteTasks, rescueTasks } from '../../src/db/tasks/repair.ts';
import { claimTasks, renewLeases, settleTasks, writeProgress } from '../../src/db/tasks/run.ts';
import { cancelTask } from '../../src/db/tasks/steer.ts';
import { BEGINNING, listWaitingTasks } from '../../src/db/tasks/waiting.ts';
import { LEASE_MS, newTask, settlement, useTasks } from '../support/tasks.ts';

const { database, accept, running, read, loseLease, deliveriesOf } = useTasks();
const webhook = { url: 'http://127.0.0.1/', events: ['task.failed'], secret: 'AAAA' };

describe('a lease', () => {
  it('is prolonged for the present attempt only, and the answer tells of a cancel', async () => {
    const [kept, stale, stopping, ended] = [await running(), await running(), await running(), await running()];
    await cancelTask(database.db, 'any', stopping, 'user');
    await settleTasks(database.db, [settlement(ended, 1)]);
    const before = await read(kept);
    const held = [kept, stopping, ended].map((id) => ({ id, attempt: 1 }));
    const rows = await renewLeases(database.db, LEASE_MS * 2, [...held, { id: stale, attempt: 2 }]);
    expect(new Map(rows.map(({ id, status }) => [id, status]))).toEqual(
      new Map([
        [kept, 'running'],
        [stopping, 'cancelling'],
      ]),
    );
    expect((await read(kept)).lease_until!.getTime()).toBeGreaterThan(before.lease_until!.getTime());
  });

  it('fences progress too', async () => {
    const id = await running();
    await writeProgress(database.db, [{ id, attempt: 2, percent: 99, message: 'zombie' }]);
    expect((await read(id)).progress).toBeNull();
    await writeProgress(database.db, [{ id, attempt: 1, percent: 40, message: null }]);
    expect((await read(id)).progress).toEqual({ percent: 40, message: null });
    await settleTasks(database.db, [settlement(id, 1)]);
    await writeProgress(database.db, [{ id, attempt: 1, percent: 1, message: 'late' }]);
    expect((await read(id)).progress).toEqual({ percent: 100, message: null });
  });

  it('that ran out gives the task back, and the third loss ends it as poison', async () => {
    const id = await accept({ webhook });
    for (const generation of [0, 1, 2]) {
      await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation }]);
      expect(await rescueTasks(database.db, 10)).toEqual([]);
      await loseLease(id);
      const [moved] = await rescueTasks(database.db, 10);
      expect(moved).toMatchObject({ status: generation < 2 ? 'pending' : 'failed', generation: generation + 1 });
    }
    expect(await read(id)).toMatchObject({ losses: 3, failures: 0, error: { code: 'poison', retryable: false } });
    expect((await listAttempts(database.db, id)).map(({ outcome }) => outcome)).toEqual(['lost', 'lost', 'lost']);
    expect(await deliveriesOf(id)).toHaveLength(1);
  });

  it('that ran out while the task was being cancelled ends it as cancelled', async () => {
    const id = await running();
    await cancelTask(database.db, 'any', id, 'user');
    await loseLease(id);
    expect((await rescueTasks(database.db, 10))[0]?.status).toBe('cancelled');
    expect((await read(id)).error).toBeNull();
  });
});

describe('time', () => {
  it('ends waiting tasks past their deadline and asks running ones to stop', async () => {
    const [waiting, working, again] = [await accept(), await running(), await running()];
    const fine = await accept({ expires_in_ms: 60_000 });
    await sql`update tasks set status = 'pending', lease_until = null, worker = null where id = ${again}`.execute(
      database.db,
    );
    await sql`update tasks set expires_at = now() where id in (${waiting}, ${working}, ${again})`.execute(database.db);
    const moved = await expireTasks(database.db, 10);
    expect(moved.map(({ status }) => status).sort()).toEqual(['cancelled', 'cancelling', 'expired']);
    // It waits for another attempt: it was started, so it did not expire.
    expect(await read(again)).toMatchObject({ status: 'cancelled', cancel_reason: 'deadline', attempt: 1 });
    expect(await read(working)).toMatchObject({ status: 'cancelling', cancel_reason: 'deadline', completed_at: null });
    expect((await read(fine)).status).toBe('pending');
    expect(await expireTasks(database.db, 10)).toEqual([]);
  });

  it('turns scheduled tasks into pending ones when it has come', async () => {
    const [due, later] = [await accept(), await accept({ scheduled_for: new Date(Date.now() + 60_000).toISOString() })];
    await sql`update tasks set status = 'scheduled' where id = ${due}`.execute(database.db);
    expect(await promoteTasks(database.db, 10)).toBe(1);
    expect([(await read(due)).status, (await read(later)).status]).toEqual(['pending', 'scheduled']);
  });
});

describe('the list of waiting tasks', () => {
  it('visits each exactly once, also where a thousand became ready in the same instant', async () => {
    const tasks = Array.from({ length: 1_050 }, () => newTask(database.userId));
    await acceptTasks(database.db, tasks);
    await sql`update tasks set ready_at = timestamptz '2026-01-01 00:00:00.123456+00'`.execute(database.db);
    await sql`update tasks set ready_at = ready_at + interval '1 microsecond' where id in
      (select id from tasks order by random() limit 50)`.execute(database.db);
    const seen: string[] = [];
    let place = BEGINNING;
    for (let page = await listWaitingTasks(database.db, place, 0, 100); page.length > 0; ) {
      seen.push(...page.map(({ id }) => id));
      const last = page.at(-1)!;
      place = { place: last.place, id: last.id };
      page = await listWaitingTasks(database.db, place, 0, 100);
    }
    expect(seen).toHaveLength(tasks.length);
    expect(new Set(seen)).toEqual(new Set(tasks.map(({ id }) => id)));
  });
});

it('renewing and settling the same tasks at once never wait for each other', async () => {
  const tasks = await acceptTasks(
    database.db,
    Array.from({ length: 200 }, () => newTask(database.userId)),
  );
  const ids = tasks.map(({ id }) => id);
  for (let round = 0; round < 20; round++) {
    await sql`update tasks set status = 'pending', lease_until = null, completed_at = null, attempt = ${round}`.execute(
      database.db,
    );
    await claimTasks(
      database.db,
      'w',
      LEASE_MS,
      ids.map((id) => ({ id, generation: 0 })),
    );
    const held = ids.toReversed().map((id) => ({ id, attempt: round + 1 }));
    await Promise.all([
      renewLeases(database.db, LEASE_MS, held),
      settleTasks(
        database.db,
        ids.map((id) => settlement(id, round + 1)),
      ),
      writeProgress(
        database.db,
        held.map((one) => ({ ...one, percent: 1, message: null })),
      ),
    ]);
  }
});

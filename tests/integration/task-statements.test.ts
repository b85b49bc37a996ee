import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import { prepared } from '../../src/db/prepared.ts';
import { acceptMany, acceptTasks } from '../../src/db/tasks/accept.ts';
import { claimLimited } from '../../src/db/tasks/claim-limited.ts';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { rescueTasks } from '../../src/db/tasks/repair.ts';
import { type Claim, claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { cancelTask } from '../../src/db/tasks/steer.ts';
import { LEASE_MS, newTask, settlement, useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const { database, accept, running, read, loseLease, deliveriesOf } = useTasks();
const webhook = { url: 'http://127.0.0.1/', events: ['task.completed'], secret: 'AAAA' };

describe('accepting', () => {
  it('answers the rows in the order given, whatever order the ids have', async () => {
    const tasks = Array.from({ length: 50 }, (_, n) =>
      newTask(database.userId, { title: `${n}`, id: newId() }),
    ).reverse();
    const rows = await acceptTasks(database.db, tasks);
    expect(rows.map(({ id }) => id)).toEqual(tasks.map(({ id }) => id));
    const [first, second] = await acceptMany(database.db, [
      { tasks: [newTask(database.userId, { title: 'a' })] },
      { tasks: [newTask(database.userId, { title: 'b' })] },
    ]);
    expect([first, second]).toMatchObject([
      { is: 'stored', rows: [{ title: 'a' }] },
      { is: 'stored', rows: [{ title: 'b' }] },
    ]);
  });

  it('answers what is stored, column by column', async () => {
    const [row] = await acceptTasks(database.db, [
      newTask(database.userId, { tags: ['x'], metadata: { a: [1] }, expires_in_ms: 5_000 }),
    ]);
    expect(row).toEqual(await read(row!.id));
  });

  it('stores all or none', async () => {
    const tasks = [newTask(database.userId), newTask(database.userId, { priority: 11 }), newTask(database.userId)];
    await expect(acceptTasks(database.db, tasks)).rejects.toMatchObject({ code: '23514' });
    expect(await database.db.selectFrom('tasks').select('id').execute()).toEqual([]);
  });

  it('keeps a task for later when its time lies ahead, and takes one whose time has passed at once', async () => {
    const ahead = await accept({ scheduled_for: new Date(Date.now() + 3_600_000).toISOString() });
    const passed = await accept({ scheduled_for: new Date(Date.now() - 3_600_000).toISOString() });
    expect((await read(ahead)).status).toBe('scheduled');
    const row = await read(passed);
    expect(row.status).toBe('pending');
    expect(row.ready_at.getTime()).toBeGreaterThan(Date.now() - 60_000);
  });
});

describe('claiming', () => {
  it('takes a task in its generation only, and only once', async () => {
    const id = await accept();
    expect(await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 1 }])).toEqual([undefined]);
    const [task] = await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }]);
    expect(task).toMatchObject({ id, attempt: 1, input: { message: 'hi' } });
    expect(await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }])).toEqual([undefined]);
    expect(await read(id)).toMatchObject({ status: 'running', attempt: 1, worker: 'w' });
  });

  it('is planned once a connection, and has its own values each time', async () => {
    const ids = [await accept(), await accept()];
    await database.db.connection().execute(async (db) => {
      for (const [index, id] of ids.entries()) await claimTasks(db, `w${index}`, LEASE_MS, [{ id, generation: 0 }]);
      const { rows } = await sql<{ plans: number }>`
        select (generic_plans + custom_plans)::int as plans from pg_prepared_statements where name = 'start_tasks'`.execute(
        db,
      );
      expect(rows).toEqual([{ plans: expect.any(Number) }]);
      expect(rows[0]!.plans).toBeGreaterThanOrEqual(2);
    });
    expect(await Promise.all(ids.map(async (id) => (await read(id)).worker))).toEqual(['w0', 'w1']);
  });

  it('goes on after a migration that changed what it answers, as an older process beside a newer schema does', async () => {
    const { db } = database;
    await sql`create table kept (id int)`.execute(db);
    await sql`insert into kept values (1)`.execute(db);
    const readKept = prepared<[id: string], { id: unknown }>(
      'read_kept',
      (id) => sql`select id from kept where id::text = ${id}::text`,
    );
    expect(await readKept(db, '1')).toEqual([{ id: 1 }]);
    await sql`alter table kept alter column id type text`.execute(db);
    await expect(readKept(db, '1')).rejects.toMatchObject({ code: '0A000' });
    expect(await readKept(db, '1')).toEqual([{ id: '1' }]);
  });

  it('gives one attempt to two jobs of a task in one batch, and never to the one of an older generation', async () => {
    const twice = await accept();
    const answers = await claimTasks(database.db, 'w', LEASE_MS, [
      { id: twice, generation: 0 },
      { id: twice, generation: 0 },
    ]);
    expect(answers.map((task) => task?.attempt)).toEqual([1, undefined]);

    const renewed = await accept();
    await database.db.updateTable('tasks').set({ generation: 1 }).where('id', '=', renewed).execute();
    const [old, present] = await claimTasks(database.db, 'w', LEASE_MS, [
      { id: renewed, generation: 0 },
      { id: renewed, generation: 1 },
    ]);
    expect([old, present?.attempt]).toEqual([undefined, 1]);
  });

  it.each([
    ['without a limit', (claims: Claim[]) => claimTasks(database.db, 'w', LEASE_MS, claims)],
    [
      'with one',
      (claims: Claim[]) =>
        claimLimited(database.db, 'w', LEASE_MS, claims, { everybody: 5, agingMs: 0 }).then(({ claimed }) => claimed),
    ],
  ])('locks rows in the order of their ids, so that it never waits for what waits for it: %s', async (_, claim) => {
    // So many that rows are looked up one by one, in the order of the jobs.
    const tasks = Array.from({ length: 1_000 }, () => newTask(database.userId)).toReversed();
    const ids = (await acceptTasks(database.db, tasks)).slice(0, 3).map(({ id }) => id);
    await sql`analyze tasks`.execute(database.db);
    const lowest = ids.toSorted()[0];
    const claiming = await database.db.transaction().execute(async (trx) => {
      await sql`select 1 from tasks where id = ${lowest} for update`.execute(trx);
      const answers = claim(ids.map((id) => ({ id, generation: 0 })));
      await until('it waits', async () => {
        const { rows } = await sql`select 1 from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`.execute(database.db);
        return rows.length > 0;
      });
      const { rows } = await sql<{ id: string }>`
        select id from tasks where id = any(${ids}::uuid[]) order by id for update skip locked`.execute(trx);
      expect(rows.map(({ id }) => id)).toEqual(ids.toSorted());
      return { answers };
    });
    expect((await claiming.answers).map((task) => task && 'id' in task && task.id)).toEqual(ids);
  });

  it('leaves what is past its deadline', async () => {
    const id = await accept({ expires_in_ms: 0 });
    expect(await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }])).toEqual([undefined]);
    expect((await read(id)).status).toBe('pending');
  });
});

describe('settling', () => {
  it('writes the outcome and the ledger once; an older attempt changes nothing', async () => {
    const id = await running();
    await loseLease(id);
    await rescueTasks(database.db, 10);
    await claimTasks(database.db, 'w2', LEASE_MS, [{ id, generation: 1 }]);
    expect(await settleTasks(database.db, [settlement(id, 1, { output: '"zombie"' })])).toEqual([undefined]);
    expect(await read(id)).toMatchObject({ status: 'running', attempt: 2, output: null });
    const [moved] = await settleTasks(database.db, [settlement(id, 2)]);
    expect(moved).toMatchObject({ status: 'completed', attempt: 2 });
    expect(await settleTasks(database.db, [settlement(id, 2, { output: '"again"' })])).toEqual([undefined]);
    expect((await read(id)).output).toEqual({ message: 'hi' });
    expect((await listAttempts(database.db, id)).map(({ outcome }) => outcome)).toEqual(['lost', 'completed']);
  });

  it('tells an older attempt in the same batch that it is not the one', async () => {
    const id = await running();
    await loseLease(id);
    await rescueTasks(database.db, 10);
    await claimTasks(database.db, 'w2', LEASE_MS, [{ id, generation: 1 }]);
    const answers = await settleTasks(database.db, [settlement(id, 1, { output: '"zombie"' }), settlement(id, 2)]);
    expect(answers.map((moved) => moved?.attempt)).toEqual([undefined, 2]);
    expect((await read(id)).output).toEqual({ message: 'hi' });
  });

  it('ends a task that is being cancelled as cancelled, whatever its attempt says', async () => {
    const id = await running();
    await cancelTask(database.db, 'any', id, 'user');
    const [moved] = await settleTasks(database.db, [settlement(id, 1)]);
    expect(moved?.status).toBe('cancelled');
    expect(await read(id)).toMatchObject({
      status: 'cancelled',
      output: null,
      cancel_reason: 'user',
      lease_until: null,
    });
    expect((await listAttempts(database.db, id)).map(({ outcome }) => outcome)).toEqual(['cancelled']);
  });

  it('keeps the ledger over retries, and counts failures but not releases', async () => {
    const id = await running();
    const error = { code: 'upstream_unavailable', message: 'away', retryable: true };
    const again = { status: 'pending', outcome: 'retry', output: null, error, delay_ms: 60_000 } as const;
    await settleTasks(database.db, [settlement(id, 1, again)]);
    const waiting = await read(id);
    expect(waiting).toMatchObject({ status: 'pending', failures: 1, generation: 0, error, completed_at: null });
    expect(waiting.ready_at.getTime()).toBeGreaterThan(Date.now() + 30_000);

    // Its job may come before its time, by a clock that runs ahead or because it was found stalled.
    expect(await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }])).toEqual([undefined]);
    await sql`update tasks set ready_at = now() where id = ${id}`.execute(database.db);
    await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }]);
    const release = { status: 'pending', outcome: 'released', output: null, new_job: true } as const;
    await settleTasks(database.db, [settlement(id, 2, release)]);
    expect(await read(id)).toMatchObject({ status: 'pending', failures: 1, generation: 1, attempt: 2 });

    await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 1 }]);
    await settleTasks(database.db, [settlement(id, 3)]);
    const ledger = await listAttempts(database.db, id);
    expect(ledger.map(({ attempt, outcome }) => [attempt, outcome])).toEqual([
      [1, 'retry'],
      [2, 'released'],
      [3, 'completed'],
    ]);
    expect(ledger[0]?.error).toEqual(error);
  });

  it('stores one delivery for a subscribed event and none for others', async () => {
    const told = await running({ webhook });
    const [moved] = await settleTasks(database.db, [settlement(told, 1)]);
    await settleTasks(database.db, [settlement(told, 1)]);
    const stored = await deliveriesOf(told);
    expect(stored).toMatchObject([{ event: 'task.completed', task_attempt: 1, url: webhook.url, status: 'pending' }]);
    expect(moved?.deliveries).toEqual(stored.map(({ id }) => id));

    const silent = await running({ webhook });
    await settleTasks(database.db, [settlement(silent, 1, { status: 'failed', outcome: 'failed', output: null })]);
    const between = await running({ webhook });
    await settleTasks(database.db, [settlement(between, 1, { status: 'pending', outcome: 'retry', output: null })]);
    expect([...(await deliveriesOf(silent)), ...(await deliveriesOf(between))]).toEqual([]);
  });
});

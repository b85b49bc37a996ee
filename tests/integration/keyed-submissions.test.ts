import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { acceptKeyed } from '../../src/db/tasks/accept-keyed.ts';
import { newTask, useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const { database, accept, read } = useTasks();
const keyOf = (key: string) =>
  ({ concurrency_key: key, concurrency_limit: 1, concurrency_policy: 'cancel_running' }) as const;

it('what makes room for a batch is locked in the order of ids, as all that changes many tasks locks them', async () => {
  const { db, userId } = database;
  const [first, second] = [await accept(keyOf('a')), await accept(keyOf('b'))];
  const lock = (id: string, trx = db) => sql`select 1 from tasks where id = ${id} for update`.execute(trx);
  const submitting = await db.transaction().execute(async (trx) => {
    await lock(first, trx);
    const tasks = [newTask(userId, keyOf('b')), newTask(userId, keyOf('a'))];
    const accepted = acceptKeyed(db, { tasks });
    // Heard of in time, also where it fails before somebody waits for it.
    accepted.catch(() => {});
    await until('it waits for the first', async () => {
      const { rows } = await sql`select 1 from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`.execute(db);
      return rows.length > 0;
    });
    await lock(second, trx);
    return { accepted };
  });
  const { superseded } = await submitting.accepted;
  expect(superseded.map(({ id, status }) => [id, status]).sort()).toEqual([
    [first, 'cancelled'],
    [second, 'cancelled'],
  ]);
  expect((await read(second)).cancel_reason).toBe('superseded');
});

it('of a batch with many keys, each key makes room by its own limit, as its newest task says', async () => {
  const { db, userId } = database;
  const old = { a: [await accept(keyOf('a')), await accept(keyOf('a'))], b: [await accept(keyOf('b'))] };
  const foreign = await accept(keyOf('c'));
  const tasks = [
    newTask(userId, { ...keyOf('a'), concurrency_limit: 2 }),
    newTask(userId, keyOf('b')),
    newTask(userId, { ...keyOf('b'), concurrency_policy: 'queue' }),
  ];
  const { accepted, superseded } = await acceptKeyed(db, { tasks });
  expect(accepted.is).toBe('stored');
  expect(superseded.map(({ id }) => id)).toEqual([old.a[0]]);
  for (const id of [old.a[1]!, old.b[0]!, foreign]) expect((await read(id)).status).toBe('pending');
});

it('names the newest of many that hold a key, and counts those before it in the batch', async () => {
  const { db, userId } = database;
  const reject = { ...keyOf('r'), concurrency_policy: 'reject' } as const;
  const queued = { ...keyOf('r'), concurrency_policy: 'queue' } as const;
  const ids: string[] = [];
  for (let n = 0; n < 22; n++) ids.push(await accept(queued));
  const { accepted } = await acceptKeyed(db, { tasks: [newTask(userId, reject)] });
  expect(accepted).toEqual({ is: 'full', index: 0, holders: ids.toReversed().slice(0, 20) });
  const tasks = [23, 24, 24].map((concurrency_limit) => newTask(userId, { ...reject, concurrency_limit }));
  expect((await acceptKeyed(db, { tasks })).accepted).toMatchObject({ is: 'full', index: 2 });
  expect((await acceptKeyed(db, { tasks: tasks.slice(0, 2) })).accepted.is).toBe('stored');
});

import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { deleteExpiredKeys, freeKey, type KeyUse, keepAnswer, takeKey } from '../../src/db/idempotency.ts';
import { newId } from '../../src/db/ids.ts';
import { acceptedAt, acceptMany, acceptTasks, type NewTask, type Submitted } from '../../src/db/tasks/accept.ts';
import { newTask, storeUser, useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const { database, read } = useTasks();

const use = (key: string, asked = 'this', user_id = database.userId): KeyUse => ({
  user_id,
  caller: user_id,
  key,
  fingerprint: createHash('sha256').update(asked).digest(),
  holder: newId(),
});

/** One submission under a key; its answer names its first task. */
function keyed(key: string, { asked = 'this', userId = database.userId, tasks = [{}] as Partial<NewTask>[] } = {}) {
  const made = tasks.map((more) => newTask(userId, more));
  return { tasks: made, key: { ...use(key, asked, userId), answer: Buffer.from(made[0]!.id) } };
}

const acceptOne = async (submitted: Submitted) => (await acceptMany(database.db, [submitted]))[0]!;
const storedIds = async () => (await database.db.selectFrom('tasks').select('id').execute()).map(({ id }) => id).sort();
const keysLeft = async () =>
  (await database.db.selectFrom('idempotency_keys').select('key').orderBy('key').execute()).map(({ key }) => key);
/** Waits until so many statements wait for others. */
const waiters = (count: number) =>
  until(`${count} statements wait`, async () => {
    const { rows } = await sql`select 1 from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`.execute(database.db);
    return rows.length === count;
  });
const expire = () => sql`update idempotency_keys set expires_at = now() - interval '1 second'`.execute(database.db);

describe('accepting under a key', () => {
  it('stores the tasks once and answers the first answer from then on', async () => {
    const [first, second] = [keyed('k', { tasks: [{}, {}] }), keyed('k', { tasks: [{}, {}] })];
    const stored = await acceptOne(first);
    const again = await acceptOne(second);
    const row = await read(first.tasks[0]!.id);
    expect(stored).toEqual({ is: 'stored', rows: [row, await read(first.tasks[1]!.id)] });
    expect(again).toEqual({ is: 'answered', answer: first.key.answer, created_at: row.created_at });
    expect(await storedIds()).toEqual(first.tasks.map(({ id }) => id).sort());
  });

  it('refuses the same key for something else, and takes the same key of another user', async () => {
    const mine = keyed('k');
    await acceptOne(mine);
    expect(await acceptOne(keyed('k', { asked: 'that' }))).toEqual({ is: 'reused' });
    const theirs = keyed('k', { asked: 'that', userId: await storeUser(database.db) });
    expect((await acceptOne(theirs)).is).toBe('stored');
    expect(await storedIds()).toEqual([mine.tasks[0]!.id, theirs.tasks[0]!.id].sort());
  });

  it('gives each caller of a batch its own: without a key, first, second and different under one key', async () => {
    const userId = await storeUser(database.db);
    const [plain, first, second, other, last, theirs] = [
      { tasks: [newTask(database.userId), newTask(database.userId)] },
      keyed('b'),
      keyed('b'),
      keyed('b', { asked: 'that' }),
      keyed('a'),
      keyed('b', { userId }),
    ];
    const answers = await acceptMany(database.db, [plain, first, second, other, last, theirs]);
    expect(answers.map(({ is }) => is)).toEqual(['stored', 'stored', 'answered', 'reused', 'stored', 'stored']);
    expect(answers[0]).toMatchObject({ rows: plain.tasks.map(({ id }) => ({ id })) });
    expect(answers[2]).toMatchObject({ answer: first.key.answer });
    const stored = [plain, first, last, theirs].flatMap(({ tasks }) => tasks).map(({ id }) => id);
    expect(await storedIds()).toEqual(stored.sort());
  });

  it('leaves neither tasks nor key where one row cannot be stored', async () => {
    const bad = keyed('k', { tasks: [{}, { priority: 11 }] });
    await expect(acceptMany(database.db, [bad, keyed('other')])).rejects.toMatchObject({ code: '23514' });
    expect([...(await storedIds()), ...(await keysLeft())]).toEqual([]);
  });

  it('waits for another transaction that takes the same key, and then answers what that one stored', async () => {
    const [first, second] = [keyed('k'), keyed('k')];
    const trx = await database.db.startTransaction().execute();
    await acceptMany(trx, [first]);
    const waiting = acceptOne(second);
    await waiters(1);
    await trx.commit().execute();
    expect(await waiting).toMatchObject({ is: 'answered', answer: first.key.answer });
    expect(await storedIds()).toEqual([first.tasks[0]!.id]);
  });

  it('takes the key over where the first transaction is rolled back', async () => {
    const [first, second] = [keyed('k'), keyed('k')];
    const trx = await database.db.startTransaction().execute();
    await acceptMany(trx, [first]);
    const waiting = acceptOne(second);
    await waiters(1);
    await trx.rollback().execute();
    expect((await waiting).is).toBe('stored');
    expect(await storedIds()).toEqual([second.tasks[0]!.id]);
  });

  it('never deadlocks where two statements bring the same keys in different orders', async () => {
    const names = ['a', 'b', 'c', 'd', 'e'];
    // Whoever is in the middle lets both come half of their way, from either end.
    const trx = await database.db.startTransaction().execute();
    await acceptMany(trx, [keyed('c')]);
    const both = Promise.all(
      [names, names.toReversed()].map((keys) =>
        acceptMany(
          database.db,
          keys.map((key) => keyed(key)),
        ),
      ),
    );
    await waiters(2);
    await trx.commit().execute();
    expect((await both).flat().filter(({ is }) => is === 'stored')).toHaveLength(4);
    expect(await storedIds()).toHaveLength(5);
  });

  it('forgets a key after its day, for the same and for another request', async () => {
    await acceptOne(keyed('k'));
    const { expires_at, created_at } = await database.db
      .selectFrom('idempotency_keys')
      .selectAll()
      .executeTakeFirstOrThrow();
    expect(expires_at.getTime() - created_at.getTime()).toBe(86_400_000);
    await expire();
    const next = keyed('k', { asked: 'that' });
    expect((await acceptOne(next)).is).toBe('stored');
    expect(await acceptOne(keyed('k', { asked: 'that' }))).toMatchObject({ answer: next.key.answer });
    expect(await acceptOne(keyed('k'))).toEqual({ is: 'reused' });
  });

  it('can tell how a task was accepted, whatever became of it', async () => {
    const hour = 3_600_000;
    const tasks = [
      newTask(database.userId, { title: 'x', tags: ['a'], metadata: { a: 1 }, expires_in_ms: 5_000 }),
      newTask(database.userId, { delay_ms: 1_500 }),
      newTask(database.userId, { scheduled_for: new Date(Date.now() + hour).toISOString() }),
      newTask(database.userId, { scheduled_for: new Date(Date.now() - hour).toISOString() }),
    ];
    const rows = await acceptTasks(database.db, tasks);
    expect(rows.map(({ status }) => status)).toEqual(['pending', 'scheduled', 'scheduled', 'pending']);
    expect(acceptedAt(rows[0]!.created_at, tasks)).toEqual(rows);
  });
});

describe('a key that is taken before the work', () => {
  it('is in use until its answer is kept, and belongs to its holder only', async () => {
    const [first, second] = [use('k'), use('k')];
    expect(await takeKey(database.db, first)).toEqual({ is: 'mine' });
    expect(await takeKey(database.db, second)).toEqual({ is: 'in_use' });
    expect(await takeKey(database.db, use('k', 'that'))).toEqual({ is: 'reused' });
    await keepAnswer(database.db, second, Buffer.from('wrong'));
    await freeKey(database.db, second);
    expect(await takeKey(database.db, second)).toEqual({ is: 'in_use' });
    await keepAnswer(database.db, first, Buffer.from('done'));
    await keepAnswer(database.db, first, Buffer.from('changed'));
    await freeKey(database.db, first);
    const answered = { is: 'answered', answer: Buffer.from('done'), created_at: expect.any(Date) };
    expect(await takeKey(database.db, second)).toEqual(answered);
    const row = await database.db.selectFrom('idempotency_keys').selectAll().executeTakeFirstOrThrow();
    expect(row.expires_at.getTime() - row.created_at.getTime()).toBe(86_400_000);
  });

  it('is free again when its holder frees it, and when its lease is over', async () => {
    const [first, second, third] = [use('k'), use('k'), use('k')];
    await takeKey(database.db, first);
    await freeKey(database.db, first);
    expect(await takeKey(database.db, second)).toEqual({ is: 'mine' });
    await expire();
    expect(await takeKey(database.db, third)).toEqual({ is: 'mine' });
    // Whoever comes back too late has nothing to say any more.
    await keepAnswer(database.db, second, Buffer.from('late'));
    expect(await takeKey(database.db, use('k'))).toEqual({ is: 'in_use' });
  });

  it('stands between the tasks of another request and their place', async () => {
    await takeKey(database.db, use('k'));
    expect((await acceptOne(keyed('k'))).is).toBe('in_use');
    expect((await acceptOne(keyed('k', { asked: 'that' }))).is).toBe('reused');
    expect(await storedIds()).toEqual([]);
  });
});

describe('keys whose time is over', () => {
  it('are removed oldest first, a bounded number at a time, and those of present days stay', async () => {
    await acceptMany(
      database.db,
      ['a', 'b', 'c'].map((key) => keyed(key)),
    );
    await expire();
    await sql`update idempotency_keys set expires_at = expires_at - interval '1 hour' where key = 'b'`.execute(
      database.db,
    );
    await acceptOne(keyed('d'));
    expect(await deleteExpiredKeys(database.db, 1)).toBe(1);
    expect(await keysLeft()).toEqual(['a', 'c', 'd']);
    expect(await deleteExpiredKeys(database.db, 10)).toBe(2);
    expect(await deleteExpiredKeys(database.db, 10)).toBe(0);
    expect(await keysLeft()).toEqual(['d']);
    expect(await storedIds()).toHaveLength(4);
  });

  it('do not hold up their removal where one is being taken over', async () => {
    await acceptMany(database.db, [keyed('a'), keyed('b')]);
    await expire();
    const trx = await database.db.startTransaction().execute();
    await acceptMany(trx, [keyed('a')]);
    expect(await deleteExpiredKeys(database.db, 10)).toBe(1);
    await trx.commit().execute();
    expect(await keysLeft()).toEqual(['a']);
  });
});

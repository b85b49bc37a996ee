import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { settleTasks } from '../../src/db/tasks/run.ts';
import { cancelTask, retryTask } from '../../src/db/tasks/steer.ts';
import { decideStep } from '../../src/db/workflows/decide.ts';
import { settlement, useTasks } from '../support/tasks.ts';
import { createDriver, type Driver } from '../support/workflow-driver.ts';

const { database, accept, read } = useTasks();
let driver: Driver;
beforeAll(() => {
  driver = createDriver(database.db, { window: 1_000, againMs: 0 });
});
afterAll(() => driver.close());

const say = (id: string, more: object = {}) => ({ id, type: 'echo', input: { message: id }, ...more });
/** Steps that are skipped, more than are reckoned with in one transaction. */
const skipped = (n: number, needs: string[]) =>
  Array.from({ length: n }, (_, i) => say(`s${i}`, { needs, when: 'false' }));

const by = { id: '00000000-0000-7000-8000-000000000000', username: 'ann' };

async function begin(steps: object[]): Promise<string> {
  const id = await accept({ type: 'workflow', input: { steps } });
  await work(id);
  return id;
}

/** Has a worker take a task, or one by its title, where it waits. */
async function work(which: string, fate: 'failed' | undefined = undefined): Promise<void> {
  const task = (await driver.waiting()).find(({ id, title }) => id === which || title === which);
  await driver.work(task!, fate ?? { output: task?.input });
}

it('goes on where whoever moved it on died between two transactions', async () => {
  const id = await begin([say('a'), ...skipped(150, ['a'])]);
  await work('a');
  expect((await driver.moveOnce(id)).more).toBe(true);
  await sql`update workflow_runs set look_at = look_at - interval '1 minute'`.execute(database.db);
  expect(await driver.engine.sweep(0)).toBe(1);
  await work(id);
  expect((await read(id)).output).toMatchObject({ steps: { completed: 1, skipped: 150 } });
  expect(await driver.engine.sweep(0)).toBe(0);
});

it('keeps no other from being moved on where a move breaks, and fails once it has broken often', async () => {
  // A real one would ask for more than Postgres takes, or for longer.
  await sql`
    create function too_much() returns trigger language plpgsql as $$ begin raise 'too much' using errcode = '57014'; end $$`.execute(
    database.db,
  );
  await sql`
    create trigger too_much before update on workflow_steps for each row when (new.step = 'bad' and new.status = 'running')
      execute function too_much()`.execute(database.db);
  const bad = await begin([say('a'), say('bad', { needs: ['a'] })]);
  const good = await begin([say('b'), say('c', { needs: ['b'] })]);
  await work('a');
  await work('b');
  expect(await driver.engine.sweep(0)).toBe(2);
  expect((await driver.steps(good)).map(({ status }) => status)).toEqual(['completed', 'running']);
  for (let sweep = 1; sweep < 6; sweep++) {
    expect((await driver.steps(bad)).map(({ status }) => status)).toEqual(['running', 'waiting']);
    await driver.engine.sweep(0);
  }
  await work(bad);
  expect((await read(bad)).error?.message).toContain('Internal error');
  await sql`drop function too_much cascade`.execute(database.db);
  await driver.engine.sweep(0);
  expect(await driver.engine.sweep(0)).toBe(0);
});

it('that is run again does not do twice what had ended and was not reckoned with', async () => {
  const id = await begin([
    say('a'),
    say('each', { for_each: [1, 2] }),
    { id: 'ask', type: 'approval' },
    say('last', { needs: ['a', 'each', 'ask'] }),
  ]);
  await work('a');
  await work('each[0]');
  await work('each[1]');
  const yes = { workflowId: id, step: 'ask', approved: true, by, comment: 'before' };
  expect(await decideStep(database.db, yes)).toBe('decided');
  const before = await driver.steps(id);
  await cancelTask(database.db, 'any', id, 'enough');
  await retryTask(database.db, 'any', id);
  expect(await driver.engine.sweep(0)).toBe(0);
  await driver.engine.moveOn(id);
  await work(id);
  const after = await driver.steps(id);
  expect(after.map(({ child_id }) => child_id).slice(0, -1)).toEqual(
    before.map(({ child_id }) => child_id).slice(0, -1),
  );
  expect(after.map(({ status }) => status)).toEqual([...Array(5).fill('completed'), 'running']);
  expect(after.find(({ step }) => step === 'ask')?.output).toMatchObject({ comment: 'before' });
  await work('last');
  await driver.engine.sweep(0);
  await work(id);
  expect((await read(id)).output).toMatchObject({ steps: { completed: 4 } });
});

it('that is cancelled keeps all that had ended before, however much it is', async () => {
  const id = await begin([say('each', { for_each: Array.from({ length: 510 }, (_, n) => n) })]);
  const tasks = (await driver.waiting()).filter(({ parent_id }) => parent_id === id);
  expect(tasks).toHaveLength(510);
  await driver.claim(tasks);
  await settleTasks(
    database.db,
    tasks.map((task) => ({ ...settlement(task.id, 1), follows: true })),
  );
  await cancelTask(database.db, 'any', id, 'enough');
  await driver.engine.sweep(0);
  const not = (await driver.steps(id)).filter(({ status }) => status !== 'completed');
  expect(not).toEqual([]);
});

it('that is cancelled while it undoes hears of the end of what was undoing', async () => {
  const id = await begin([
    say('a', { compensate: { type: 'echo', input: { message: 'no a' } } }),
    say('b', { needs: ['a'], on_failure: 'compensate' }),
  ]);
  await work('a');
  await driver.engine.sweep(0);
  await work('b', 'failed');
  await driver.engine.sweep(0);
  const undo = (await driver.waiting()).filter(({ title }) => title === 'undo a');
  await driver.claim(undo);
  await cancelTask(database.db, 'any', id, 'enough');
  await driver.engine.sweep(0);
  expect((await driver.steps(id))[0]).toMatchObject({ status: 'completed', undo: 'running' });
  const end = settlement(undo[0]?.id as string, 1, { status: 'cancelled', outcome: 'cancelled', output: null });
  await settleTasks(database.db, [{ ...end, follows: true }]);
  await driver.engine.sweep(0);
  expect((await driver.steps(id))[0]).toMatchObject({ status: 'completed', undo: 'failed' });
});

it('goes on by a part while others wait, and no sweep waits for it', async () => {
  const long = [await begin([say('a'), ...skipped(250, ['a'])]), await begin([say('b'), ...skipped(250, ['b'])])];
  const short = await begin([say('c')]);
  for (const title of ['a', 'b', 'c']) await work(title);
  const through: string[] = [];
  const moves = [...long, short].map((id) => driver.engine.moveOn(id).then(() => through.push(id)));
  await Promise.all(moves);
  expect(through[0]).toBe(short);

  const other = await begin([say('d')]);
  await work('d');
  const held = Promise.withResolvers<void>();
  const isHeld = Promise.withResolvers<void>();
  const holding = database.db.transaction().execute(async (trx) => {
    await sql`select from workflow_runs where workflow_id = ${other} for update`.execute(trx);
    isHeld.resolve();
    await held.promise;
  });
  await isHeld.promise;
  const { found, done } = await driver.sweep(0);
  expect(found).toBe(1);
  held.resolve();
  await Promise.all([holding, done]);
  expect(await driver.engine.sweep(0)).toBe(0);
});

it('says in its timeline why a step could not be undone', async () => {
  const id = await begin([
    say('a', { compensate: { type: 'echo', input: { message: '${{ output.nothing }}' } } }),
    say('b', { needs: ['a'], on_failure: 'compensate' }),
  ]);
  await work('a');
  await driver.engine.sweep(0);
  await work('b', 'failed');
  await driver.engine.sweep(0);
  const events = await database.db.selectFrom('task_events').selectAll().where('task_id', '=', id).execute();
  const error = expect.objectContaining({ code: 'invalid_expression' });
  const data = { level: 'warn', message: 'The step a could not be undone', fields: { step: 'a', error } };
  expect(events.filter(({ type }) => type === 'log')).toMatchObject([{ data }]);
});

it('makes tasks with the attempts, time, priority and key of their step', async () => {
  const bounds = { retry: { max_attempts: 7 }, timeout_seconds: 9, priority: 2 };
  await begin([say('a', { ...bounds, concurrency_key: { key: 'k', limit: 3 } })]);
  expect(await read((await driver.waiting())[0]?.id as string)).toMatchObject({
    ...{ max_attempts: 7, timeout_ms: 9_000, priority: 2, concurrency_key: 'k', concurrency_limit: 3 },
  });
});

it('calls tasks as its steps say, and by their ids where they say nothing', async () => {
  const id = await begin([
    say('a', { title: 'Say it' }),
    say('b', { title: 'ü'.repeat(255), for_each: [1, 2] }),
    say('c', { for_each: [1] }),
  ]);
  const titles = (await driver.waiting()).filter((task) => task.parent_id === id).map(({ title }) => title);
  const long = 'ü'.repeat(252);
  expect(titles.sort()).toEqual(['Say it', 'c[0]', `${long}[0]`, `${long}[1]`]);
});

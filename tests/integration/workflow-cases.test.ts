import { afterAll, beforeAll, expect, it } from 'vitest';
import { retryTask } from '../../src/db/tasks/steer.ts';
import { useTasks } from '../support/tasks.ts';
import { createDriver, type Driver } from '../support/workflow-driver.ts';

const { database, accept, read } = useTasks();
let driver: Driver;
beforeAll(() => {
  driver = createDriver(database.db, { limits: { waiting_tasks: 3, tokens_per_day: 0 } });
});
afterAll(() => driver.close());

const say = (id: string, more: object = {}) => ({ id, type: 'echo', input: { message: id }, ...more });

async function begin(steps: object[], input: unknown = null): Promise<string> {
  const id = await accept({ type: 'workflow', input: { steps, input } });
  await turn();
  return id;
}

/** Works on all that waits; what it is called says what becomes of it. */
async function turn(fate: 'failed' | 'lost' | undefined = undefined, only = ''): Promise<string[]> {
  const waiting = (await driver.waiting()).filter(({ title }) => (title ?? '').startsWith(only));
  for (const task of waiting) await driver.work(task, fate ?? { output: task.input });
  await driver.engine.sweep(0);
  return waiting.map(({ title }) => title ?? '');
}

const standing = async (id: string) =>
  Object.fromEntries(
    (await driver.steps(id)).map(({ step, item, status }) => [item < 0 ? step : `${step}${item}`, status]),
  );

it('a task that is run again after its end was reckoned with changes nothing of its workflow any more', async () => {
  const id = await begin([
    say('a', { on_failure: 'continue' }),
    say('b', { needs: ['a'] }),
    say('c', { needs: ['b'] }),
  ]);
  await turn('failed');
  const [first] = await driver.steps(id);
  // While the workflow goes on it is not run again: other steps ask for what it gave.
  expect(await retryTask(database.db, 'any', first?.child_id as string)).toBeUndefined();
  await turn(undefined, 'a');
  expect(await standing(id)).toEqual({ a: 'failed', b: 'running', c: 'waiting' });
  await turn();
  await turn();
  await turn();
  expect((await read(id)).output).toMatchObject({ steps: { completed: 2, failed: 1 } });
  expect(await retryTask(database.db, 'any', first?.child_id as string)).toBeDefined();
  expect(await turn()).toEqual(['a']);
  expect(await standing(id)).toEqual({ a: 'failed', b: 'completed', c: 'completed' });
});

it('a step whose task costs three workers has failed', async () => {
  const id = await begin([say('a')]);
  for (let loss = 0; loss < 3; loss++) await turn('lost');
  await turn();
  expect((await read(id)).error?.message).toMatch(/^The step a failed: poison: /);
});

it('once an item has failed, none begins that had not, and what waits is cancelled', async () => {
  const id = await begin([say('a', { for_each: [1, 2, 3], max_parallel: 2 }), say('b', { needs: ['a'] })]);
  const [one] = await driver.waiting();
  await driver.work(one!, 'failed');
  await driver.engine.sweep(0);
  expect(await driver.waiting()).toMatchObject([{ id }]);
  await turn();
  expect((await read(id)).error?.message).toContain('The step a[0] failed');
  expect(await standing(id)).toEqual({ a: 'failed', a0: 'failed', a1: 'failed', a2: 'cancelled', b: 'cancelled' });
});

it('a workflow takes no more room than its user has, and goes on once there is some', async () => {
  const id = await begin([say('a', { for_each: [1, 2, 3, 4, 5] })]);
  expect(await driver.waiting()).toHaveLength(3);
  expect((await standing(id)).a4).toBe('ready');
  await turn();
  expect(await driver.waiting()).toHaveLength(2);
  await turn();
  await turn();
  expect((await read(id)).status).toBe('completed');
});

it('what cannot be a task is the failure of its step', async () => {
  const steps = [
    say('a', { input: { message: '${{ input.nothing }}' }, on_failure: 'continue' }),
    say('b', { input: { text: 'b' }, on_failure: 'continue' }),
    say('c', { for_each: '"no list"', on_failure: 'continue' }),
  ];
  const id = await begin(steps);
  await turn();
  const codes = (await driver.steps(id)).map(({ error }) => error?.code);
  expect(codes).toEqual(['invalid_expression', 'invalid_input', 'invalid_expression']);
  expect((await read(id)).output).toMatchObject({ steps: { failed: 3 } });
});

it('a list in which one long text is very often is the failure of its step, and is not written', async () => {
  const input = { list: Array(300).fill(1), text: 'x'.repeat(20_000) };
  const id = await begin([say('a', { for_each: 'input.list.map(x, input.text)', on_failure: 'continue' })], input);
  expect((await driver.steps(id)).map(({ error }) => error)).toEqual([
    expect.objectContaining({ code: 'invalid_input', message: expect.stringContaining('4194304 characters') }),
  ]);
  await turn();
});

it('the lists of a workflow have a bound together, which counts what is there when it begins again', async () => {
  const id = await begin([say('a', { for_each: [1, 2] }), say('b', { needs: ['a'], for_each: [3, 4] })]);
  const run = () =>
    database.db.selectFrom('workflow_runs').selectAll().where('workflow_id', '=', id).executeTakeFirstOrThrow();
  expect((await run()).item_bytes).toBeGreaterThan(2);
  await database.db
    .updateTable('workflow_runs')
    .set({ item_bytes: 67_108_800 })
    .where('workflow_id', '=', id)
    .execute();
  await turn();
  await turn();
  expect((await read(id)).error?.message).toMatch(/^The step b failed: .* 67108864 bytes together/);
  await retryTask(database.db, 'any', id);
  await turn();
  expect((await run()).item_bytes).toBeLessThan(2_000);
  await turn();
  await turn();
  expect((await read(id)).status).toBe('completed');
});

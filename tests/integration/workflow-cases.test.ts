import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { explainTask } from '../../src/api/explain.ts';
import { settleTasks } from '../../src/db/tasks/run.ts';
import { cancelTask, retryTask, retryTasks } from '../../src/db/tasks/steer.ts';
import { decideStep } from '../../src/db/workflows/decide.ts';
import { listSteps } from '../../src/db/workflows/graph.ts';
import { settlement, useTasks } from '../support/tasks.ts';
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

it('a workflow that begins again takes the place of tasks of its steps that were run again by themselves', async () => {
  const id = await begin([say('a'), say('b')]);
  await turn('failed', 'a');
  await turn(undefined, 'b');
  await turn();
  const [a] = await driver.steps(id);
  const since = await accept();
  const moved = await retryTasks(database.db, 'any', [id, a?.child_id as string], since, null);
  expect(moved.map((one) => one.id)).toEqual([id]);
  await turn();
  await turn('failed', 'a');
  await turn();
  const [again] = await driver.steps(id);
  await retryTask(database.db, 'any', again?.child_id as string);
  await retryTask(database.db, 'any', id);
  const whole = (await driver.waiting()).find((task) => task.id === id);
  await driver.work(whole!, { output: null });
  expect(await read(again?.child_id as string)).toMatchObject({ status: 'cancelled' });
  // Each once, the one that was cancelled with it included.
  const steps = (await driver.waiting()).filter(({ parent_id }) => parent_id === id);
  expect(steps.map(({ title }) => title).sort()).toEqual(['a', 'b']);
  await turn();
  await turn();
  expect((await read(id)).status).toBe('completed');
});

it('a workflow that begins again does a step anew whose task was run again by itself and gives nothing any more', async () => {
  const id = await begin([
    say('a'),
    say('l', { for_each: ['x', 'y'] }),
    say('b', { needs: ['a', 'l'], input: { message: '${{ steps.a.output.message }}' } }),
  ]);
  await turn();
  await turn('failed', 'b');
  await turn();
  expect(await standing(id)).toMatchObject({ a: 'completed', l: 'completed', b: 'failed' });
  const steps = await driver.steps(id);
  const childOf = (step: string, item: number) =>
    steps.find((one) => one.step === step && one.item === item)?.child_id as string;
  // One that is stopped with the retry of the whole, and one that has failed by then.
  await retryTask(database.db, 'any', childOf('a', -1));
  await retryTask(database.db, 'any', childOf('l', 1));
  await turn('failed', 'l');
  await retryTask(database.db, 'any', id);
  await driver.work((await driver.waiting()).find((task) => task.id === id)!, { output: null });
  expect(await standing(id)).toEqual({ a: 'running', l: 'running', l0: 'completed', l1: 'running', b: 'waiting' });
  await turn();
  const b = (await driver.waiting()).find(({ title }) => title === 'b');
  expect(b?.input).toEqual({ message: 'a' });
  await turn();
  await turn();
  expect((await read(id)).status).toBe('completed');
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
  expect(await standing(id)).toEqual({ a: 'failed', a0: 'failed', a1: 'cancelled', a2: 'cancelled', b: 'cancelled' });
});

it('a workflow takes no more room than its user has, and goes on once there is some', async () => {
  const id = await begin([say('a', { for_each: [1, 2, 3, 4, 5] })]);
  expect(await driver.waiting()).toHaveLength(3);
  expect((await standing(id)).a4).toBe('ready');
  const limits = { waiting_tasks: 3, tokens_per_day: 0 };
  const why = async () => explainTask(database.db, await read(id), { everybody: 0, agingMs: 600_000, limits });
  expect(await why()).toMatchObject({
    reason: 'user_limit',
    detail: expect.stringContaining('3 tasks of its user wait'),
  });
  await turn();
  expect(await driver.waiting()).toHaveLength(2);
  expect((await why()).reason).toBe('awaiting_steps');
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
  expect((await driver.steps(id)).map(({ error }) => [error?.code, error?.message])).toEqual([
    ['invalid_expression', 'The expression in input.message: No such key: nothing.'],
    ['invalid_input', 'The input of the step: message is missing.'],
    ['invalid_expression', 'The expression in for_each: must give a list.'],
  ]);
  expect((await read(id)).output).toMatchObject({ steps: { failed: 3 } });
});

it('what was undone is counted by steps, and seen of a step with a list', async () => {
  const undo = { compensate: { type: 'echo', input: { message: 'no' } } };
  const id = await begin([
    say('a', { for_each: [1, 2, 3], ...undo }),
    say('b', { needs: ['a'], ...undo }),
    say('c', { needs: ['b'], compensate: { type: 'echo', input: { message: '${{ output.nothing }}' } } }),
    say('d', { needs: ['c'], on_failure: 'compensate' }),
  ]);
  for (let step = 0; step < 3; step++) await turn();
  const [last] = await driver.waiting();
  await driver.work(last!, 'failed');
  await driver.engine.sweep(0);
  const undoing = async () => (await listSteps(database.db, id, 0, 10)).map(({ undo }) => undo);
  expect(await undoing()).toEqual(['ready', 'running', 'failed', null]);
  await turn();
  expect(await undoing()).toEqual(['running', 'completed', 'failed', null]);
  for (let item = 0; item < 4; item++) await turn();
  expect(await undoing()).toEqual(['completed', 'completed', 'failed', null]);
  expect((await read(id)).error?.message).toBe(
    'The step d failed: upstream_rejected: no. 2 steps were undone, and 1 could not be.',
  );
});

it('all that a workflow takes along when it ends is cancelled, whether it runs or waits', async () => {
  const id = await begin([
    say('a', { on_failure: 'compensate' }),
    say('list', { for_each: [1, 2], max_parallel: 1 }),
    { id: 'ask', type: 'approval' },
    say('b', { needs: ['a'] }),
  ]);
  const [running] = (await driver.waiting()).filter(({ title }) => title === 'a');
  await driver.claim([running!]);
  await cancelTask(database.db, 'any', id, 'enough');
  const end = settlement(running!.id, 1, { status: 'cancelled', outcome: 'cancelled', output: null });
  await settleTasks(database.db, [{ ...end, follows: true }]);
  await driver.engine.sweep(0);
  const all = await driver.steps(id);
  expect(all.map(({ status, error }) => [status, error])).toEqual(Array(6).fill(['cancelled', null]));
  await retryTask(database.db, 'any', id);
  await turn();
  expect(await standing(id)).toMatchObject({ a: 'running', list0: 'running', list1: 'waiting', ask: 'awaiting' });
});

it('an approval that nobody decided in time has failed, and what is said later does not count', async () => {
  const ask = { id: 'ask', type: 'approval', expires_in_seconds: 60, on_failure: 'continue' };
  const id = await begin([ask, say('a', { input: { message: '${{ steps.ask.error.code }}' } })]);
  await sql`update workflow_steps set expires_at = now() where step = 'ask'`.execute(database.db);
  const by = { id: database.userId, username: 'ann' };
  const late = { workflowId: id, step: 'ask', approved: true, by, comment: null };
  expect(await decideStep(database.db, late)).toBe('not_waiting');
  await driver.engine.sweep(0);
  expect(await standing(id)).toEqual({ ask: 'failed', a: 'running' });
  expect((await driver.waiting())[0]?.input).toEqual({ message: 'approval_expired' });
  expect(await decideStep(database.db, late)).toBe('not_waiting');
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

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem } from '../support/problem.ts';
import { type Answer, type Client, createWorld, type World } from '../support/world.ts';

type Submitted = PresentedTask & { webhook_secret?: string };
const TASKS = '/api/v1/tasks';
const BATCH = `${TASKS}/batch`;
const echo = (message = 'hi', more = {}) => ({ type: 'echo', input: { message }, ...more });

let made = 0;
const newKey = () => `key-${++made}`;
const replay = (answer: Answer<unknown>) => answer.headers.get('idempotency-replayed');

describe('an idempotency key', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    client = await world.client();
  });
  afterAll(() => world.close());

  const post = (path: string, body: unknown, key: string, headers = {}) =>
    client.request<Submitted>('POST', path, body, { 'idempotency-key': key, ...headers });
  const countTasks = async () => (await world.db.selectFrom('tasks').select('id').execute()).length;

  it('stands for one request: another body, route or deadline is refused and stores nothing', async () => {
    const key = newKey();
    await post(TASKS, echo(), key);
    const before = await countTasks();
    for (const [path, body, headers] of [
      [TASKS, echo('other'), {}],
      [TASKS, echo('hi', { priority: 5 }), {}],
      [BATCH, { tasks: [echo()] }, {}],
      [TASKS, echo(), { 'cancel-after': '90s' }],
    ] as const)
      expectProblem(await post(path, body, key, headers), 'idempotency_key_reused');
    expectProblem(await post(`${TASKS}?a=1`, echo(), key), 'validation_failed');
    expect(await countTasks()).toBe(before);

    const [one, two] = [await client.submit('echo', { message: 'a' }), await client.submit('echo', { message: 'b' })];
    for (const { id } of [one, two]) await client.request('POST', `${TASKS}/${id}/cancel`);
    const retry = newKey();
    expect((await post(`${TASKS}/${one.id}/retry`, undefined, retry)).status).toBe(202);
    expectProblem(await post(`${TASKS}/${two.id}/retry`, undefined, retry), 'idempotency_key_reused');
  });

  it('is one key with and without quotes, and the order of names and white space do not matter', async () => {
    const key = newKey();
    const first = await post(
      TASKS,
      '{"type":"echo","input":{"message":"hi"},"metadata":{"a":1,"b":[{"c":1,"d":2}]}}',
      key,
    );
    const text =
      '{ "metadata": {"b": [{"d": 2, "c": 1.0}], "a": 1},\n "input": {"message": "\\u0068i"}, "type": "echo" }';
    const second = await post(TASKS, text, `"${key}"`);
    expect([second.status, second.body.id]).toEqual([202, first.body.id]);
    expectProblem(await post(TASKS, text.replace('1.0', '1.5'), key), 'idempotency_key_reused');
  });

  it.each([
    ['a UUID', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['one character', 'x'],
    ['255 characters', 'y'.repeat(255)],
    ['punctuation', "a!#$%&'()*+-./:<=>?@[]^_`{|}~"],
    ['quoted punctuation', '"a, b; \\"c\\" \\\\ d"'],
  ])('may be %s', async (_, key) => {
    const first = await post(TASKS, echo(), key);
    const second = await post(TASKS, echo(), key);
    expect([first.status, replay(first), second.body.id, replay(second)]).toEqual([202, null, first.body.id, 'true']);
  });

  it.each([
    ['nothing', ''],
    ['empty quotes', '""'],
    ['256 characters', 'z'.repeat(256)],
    ['256 quoted characters', `"${'z'.repeat(256)}"`],
    ['two keys', 'a, b'],
    ['a space', 'a b'],
    ['half a quote', '"a'],
    ['a quote inside', 'a"b'],
    ['a quote inside quotes', '"a"b"'],
    ['an escape of nothing', '"a\\b"'],
    ['a backslash', 'a\\b'],
    ['parameters', '"a";b=1'],
    ['other letters', 'schlüssel'],
  ])('may not be %s', async (_, key) => {
    const before = await countTasks();
    for (const path of [TASKS, BATCH]) {
      const problem = expectProblem(
        await post(path, path === TASKS ? echo() : { tasks: [echo()] }, key),
        'bad_request',
      );
      expect(problem.detail).toContain('Idempotency-Key');
    }
    expect(await countTasks()).toBe(before);
  });

  it('is not taken by a request that is refused', async () => {
    const key = newKey();
    expectProblem(await post(TASKS, echo('hi', { priority: 11 }), key), 'validation_failed');
    expectProblem(await post(TASKS, { type: 'nonsense', input: {} }, key), 'validation_failed');
    expectProblem(await world.anonymous.request('POST', TASKS, echo(), { 'idempotency-key': key }), 'unauthorized');
    const task = await post(TASKS, echo(), key);
    expect([task.status, replay(task)]).toEqual([202, null]);

    const retry = newKey();
    const path = `${TASKS}/${task.body.id}/retry`;
    expectProblem(await post(path, undefined, retry), 'task_running');
    await client.request('POST', `${TASKS}/${task.body.id}/cancel`);
    const retried = await post(path, undefined, retry);
    expect([retried.status, replay(retried)]).toEqual([202, null]);
  });

  it('does nothing where nothing is made: two cancels, two answers', async () => {
    const key = newKey();
    const { id } = await client.submit('echo', { message: 'x' });
    for (const _ of [1, 2]) {
      const answer = await post(`${TASKS}/${id}/cancel`, undefined, key);
      expect([answer.status, replay(answer)]).toEqual([200, null]);
    }
  });

  it('answers what was accepted after the task itself is gone', async () => {
    const key = newKey();
    const first = await post(TASKS, echo(), key);
    await world.db.deleteFrom('tasks').where('id', '=', first.body.id).execute();
    expect((await post(TASKS, echo(), key)).body).toEqual(first.body);
    const waited = await post(TASKS, echo(), key, { prefer: 'wait=30' });
    expect(waited).toMatchObject({ status: 202, body: { id: first.body.id, status: 'pending' } });
  });
});

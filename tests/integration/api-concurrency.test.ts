import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const chat = (content: string) => ({ messages: [{ role: 'user', content }] });
const saidIn = (body: Record<string, unknown>) => (body.messages as Array<{ content: string }>).at(-1)?.content ?? '';

describe('a concurrency key', () => {
  let world: World;
  let client: Client;
  /** Calls of the model that wait for their answer, in the order in which they came. */
  let calls: Array<{ content: string; at: number; answer: () => void }>;
  let most: number;
  let now: number;
  beforeAll(async () => {
    world = await createWorld({ env: { WORKER_CONCURRENCY: '12' } });
    // A second process that works on the same lanes.
    await world.join('worker');
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    client = await world.client();
    calls = [];
    now = 0;
    most = 0;
    world.ollama.script = ({ body, closedEarly }) =>
      new Promise((resolve) => {
        most = Math.max(most, ++now);
        let open = true;
        const end = () => {
          if (open) now--;
          open = false;
          resolve(false);
        };
        calls.push({ content: saidIn(body), at: performance.now(), answer: end });
        void closedEarly.then((early) => early && end());
      });
  });

  const submit = (content: string, concurrency_key: unknown, more = {}) =>
    client.submit('chat', chat(content), { concurrency_key, ...more });
  const post = (body: unknown, headers?: Record<string, string>) =>
    client.request<Pick<PresentedTask, 'id'>>('POST', '/api/v1/tasks', body, headers);
  const read = async (id: string) => (await client.request<PresentedTask>('GET', `/api/v1/tasks/${id}`)).body;
  const heldBack = async (ids: string[]) =>
    (await world.db.selectFrom('tasks').select(['id', 'held_by', 'called']).where('id', 'in', ids).execute()).filter(
      ({ held_by }) => held_by !== null,
    );
  const calledWith = (content: string) =>
    until(`the model is asked ${content}`, () => calls.find((call) => call.content === content));

  it('is shown in the task, with its limit and its policy', async () => {
    const whole = { key: 'a', limit: 3, policy: 'reject' };
    const { id } = await client.submit('echo', { message: 'x' }, { concurrency_key: whole, delay_seconds: 600 });
    expect((await read(id)).concurrency_key).toEqual(whole);
    const short = await client.submit('echo', { message: 'x' }, { concurrency_key: { key: 'b' }, delay_seconds: 600 });
    expect(short.concurrency_key).toEqual({ key: 'b', limit: 1, policy: 'queue' });
    expect((await client.submit('echo', { message: 'x' })).concurrency_key).toBeNull();
  });

  it('lets the tasks of a key run one after the other, in the order of the line, each soon after the one before', async () => {
    const ids = [(await submit('a', { key: 'order' })).id];
    await calledWith('a');
    for (const name of ['b', 'c', 'd', 'e', 'f']) ids.push((await submit(name, { key: 'order' })).id);
    await until('the others are held back', async () => (await heldBack(ids)).length === 5);
    const gaps: number[] = [];
    let answered = 0;
    for (const [index, name] of ['a', 'b', 'c', 'd', 'e', 'f'].entries()) {
      const call = await calledWith(name);
      expect(calls).toHaveLength(index + 1);
      if (index > 0) gaps.push(call.at - answered);
      answered = performance.now();
      call.answer();
    }
    const ended = await Promise.all(ids.map((id) => client.waitForEnd(id)));
    expect(ended.map(({ status, attempt }) => [status, attempt])).toEqual(ids.map(() => ['completed', 1]));
    expect(most).toBe(1);
    // By asking again after a while it would be half a second and more; the slowest of them on a busy machine is left out.
    expect(gaps.sort((a, b) => a - b)[3]).toBeLessThan(450);
    expect(await heldBack(ids)).toEqual([]);
  });

  it('lets as many run at a time as its limit says, and those of other keys and other users besides', async () => {
    const ids = await Promise.all(Array.from({ length: 9 }, (_, n) => submit(`three ${n}`, { key: 'n', limit: 3 })));
    await until('three run', () => calls.length === 3);
    await until('six are held back', async () => (await heldBack(ids.map(({ id }) => id))).length === 6);
    await submit('other key', { key: 'm', limit: 1 });
    (await calledWith('other key')).answer();
    const other = await world.client();
    await other.submit('chat', chat('other user'), { concurrency_key: { key: 'n', limit: 3 } });
    (await calledWith('other user')).answer();
    most = 0;
    for (let n = 0; n < 11; n++) (await until('the next runs', () => calls[n])).answer();
    await Promise.all(ids.map(({ id }) => client.waitForEnd(id)));
    expect(most).toBeLessThanOrEqual(3);
  });

  it('gives the place of a task that fails, is cancelled or expires to the next', async () => {
    const first = await submit('first', { key: 'ends' });
    await calledWith('first');
    const called = await submit('second', { key: 'ends' });
    const third = await submit('third', { key: 'ends' }, { expires_in_seconds: 600 });
    const fourth = await submit('fourth', { key: 'ends' });
    await until('three wait', async () => (await heldBack([called.id, third.id, fourth.id])).length === 3);
    await world.db.updateTable('tasks').set({ expires_at: new Date() }).where('id', '=', third.id).execute();
    await client.request('POST', `/api/v1/tasks/${called.id}/cancel`);
    await until('the third expires', async () => (await read(third.id)).status === 'expired');
    await client.request('POST', `/api/v1/tasks/${first.id}/cancel`);
    (await calledWith('fourth')).answer();
    expect((await client.waitForEnd(fourth.id)).status).toBe('completed');
    expect((await read(first.id)).status).toBe('cancelled');
  });

  it('stays with a task that is run again, and with one that is made from it with another input', async () => {
    const key = { key: 'again', limit: 1, policy: 'queue' };
    const { id } = await submit('once', key);
    (await calledWith('once')).answer();
    await client.waitForEnd(id);
    await submit('blocks', key);
    await calledWith('blocks');
    const replay = await client.request<PresentedTask>('POST', `/api/v1/tasks/${id}/retry`, { input: chat('edited') });
    const again = await client.request<PresentedTask>('POST', `/api/v1/tasks/${id}/retry`);
    expect([again.status, replay.status], JSON.stringify(replay.body)).toEqual([202, 202]);
    expect([again.body.concurrency_key, replay.body.concurrency_key]).toEqual([key, key]);
    await until('both are held back', async () => (await heldBack([id, replay.body.id])).length === 2);
    for (let n = 1; n <= 3; n++) (await until('the next runs', () => calls[n])).answer();
    expect(calls.map(({ content }) => content)).toEqual(['once', 'blocks', 'edited', 'once']);
    await client.waitForEnd(id);
    expect(most).toBe(1);
  });

  it('reject: of 50 submissions at once exactly as many are accepted as the limit says; the others name those', async () => {
    const task = { type: 'echo', input: { message: 'x' }, delay_seconds: 600 };
    const concurrency_key = { key: 'race', limit: 3, policy: 'reject' };
    const answers = await Promise.all(Array.from({ length: 50 }, () => post({ ...task, concurrency_key })));
    const accepted = answers.filter(({ status }) => status === 202).map(({ body }) => body.id);
    expect(accepted).toHaveLength(3);
    for (const answer of answers.filter(({ status }) => status !== 202)) {
      const problem = expectProblem(answer, 'concurrency_limit');
      expect(problem.tasks?.toSorted()).toEqual(accepted.toSorted());
      expect(problem.detail).toContain(accepted[0]);
      expect(pointersOf(problem)).toEqual(['#/concurrency_key']);
    }
    await client.request('POST', `/api/v1/tasks/${accepted[0]}/cancel`);
    expect((await post({ ...task, concurrency_key })).status).toBe(202);
    expectProblem(await post({ ...task, concurrency_key }), 'concurrency_limit');
    expect((await post({ ...task, concurrency_key: { ...concurrency_key, policy: 'queue' } })).status).toBe(202);
  });

  it('reject: a batch is accepted whole or not at all', async () => {
    const one = { type: 'echo', input: { message: 'x' }, delay_seconds: 600 };
    const task = { ...one, concurrency_key: { key: 'batch', limit: 2, policy: 'reject' } };
    const batch = (tasks: unknown[]) => client.request('POST', '/api/v1/tasks/batch', { tasks });
    const count = async () => (await client.request<{ data: unknown[] }>('GET', '/api/v1/tasks')).body.data.length;
    const problem = expectProblem(await batch([one, task, task, task]), 'concurrency_limit');
    expect(pointersOf(problem)).toEqual(['#/tasks/3/concurrency_key']);
    expect(await count()).toBe(0);
    expect((await batch([one, task, task])).status).toBe(202);
    expect(pointersOf(expectProblem(await batch([one, task]), 'concurrency_limit'))).toEqual([
      '#/tasks/1/concurrency_key',
    ]);
    expect(await count()).toBe(3);
  });

  it('reject: a repetition with the same Idempotency-Key gets the first answer, although the key is taken', async () => {
    const concurrency_key = { key: 'twice', limit: 1, policy: 'reject' };
    const task = { type: 'echo', input: { message: 'x' }, delay_seconds: 600, concurrency_key };
    const headers = { 'idempotency-key': newId() };
    const [first, second] = await Promise.all([post(task, headers), post(task, headers)]);
    const third = await post(task, headers);
    expect([first.status, second.status, third.status]).toEqual([202, 202, 202]);
    expect(new Set([first, second, third].map(({ body }) => body.id)).size).toBe(1);
    expect(third.headers.get('idempotency-replayed')).toBe('true');
    const other = { 'idempotency-key': newId() };
    expectProblem(await post(task, other), 'concurrency_limit');
    await client.request('POST', `/api/v1/tasks/${first.body.id}/cancel`);
    // What was refused stands for nothing.
    expect((await post(task, other)).status).toBe(202);
  });

  it('cancel_running: the newest takes the place of the oldest, and starts when that has ended', async () => {
    const key = { key: 'newest', limit: 1, policy: 'cancel_running' };
    const first = await submit('first', key);
    await calledWith('first');
    const second = await submit('second', key);
    (await calledWith('second')).answer();
    expect((await client.waitForEnd(second.id)).status).toBe('completed');
    expect(await client.waitForEnd(first.id)).toMatchObject({ status: 'cancelled', cancel_reason: 'superseded' });
    expect(most).toBe(1);
  });

  it('cancel_running: of those that wait and run, as many stay beside it as the limit leaves, the newest', async () => {
    const key = { key: 'two', limit: 2, policy: 'cancel_running' };
    const ids: string[] = [];
    for (const name of ['a', 'b', 'c', 'd']) ids.push((await submit(name, key, { delay_seconds: 600 })).id);
    expect(await Promise.all(ids.map(async (id) => (await read(id)).status))).toEqual([
      ...['cancelled', 'cancelled', 'scheduled', 'scheduled'],
    ]);
    const other = await world.client();
    const task = { type: 'echo', input: { message: 'x' }, delay_seconds: 600, concurrency_key: key };
    const { body } = await other.request<{ tasks: PresentedTask[] }>('POST', '/api/v1/tasks/batch', {
      tasks: [task, task, task],
    });
    const statuses = await Promise.all(
      body.tasks.map(async ({ id }) => (await other.request<PresentedTask>('GET', `/api/v1/tasks/${id}`)).body.status),
    );
    expect(statuses).toEqual(['cancelled', 'scheduled', 'scheduled']);
  });

  it.each([
    ['a text', 'a', '#/concurrency_key'],
    ['an empty key', { key: '' }, '#/concurrency_key/key'],
    ['a long key', { key: 'x'.repeat(201) }, '#/concurrency_key/key'],
    ['a number', 5, '#/concurrency_key'],
    ['a limit of 0', { key: 'a', limit: 0 }, '#/concurrency_key/limit'],
    ['a limit above 10,000', { key: 'a', limit: 10_001 }, '#/concurrency_key/limit'],
    ['half a limit', { key: 'a', limit: 1.5 }, '#/concurrency_key/limit'],
    ['a policy that is none', { key: 'a', policy: 'drop' }, '#/concurrency_key/policy'],
    ['no key', { limit: 1 }, '#/concurrency_key/key'],
    ['a field that is not known', { key: 'a', user_id: 'x' }, '#/concurrency_key/user_id'],
  ])('refuses %s, and says where', async (_, concurrency_key, pointer) => {
    const answer = await post({ type: 'echo', input: { message: 'x' }, concurrency_key });
    expect(pointersOf(expectProblem(answer, 'validation_failed'))).toEqual([pointer]);
  });
});

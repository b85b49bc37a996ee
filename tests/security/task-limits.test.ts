import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setUserLimits, type UserLimits } from '../../src/db/limits.ts';
import { expectProblem } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

const echo = { type: 'echo', input: { message: 'hi' } };
const submit = (client: Client, more: Record<string, unknown> = {}) =>
  client.request('POST', '/api/v1/tasks', { ...echo, ...more });
const submitMany = (client: Client, count: number) => Promise.all(Array.from({ length: count }, () => submit(client)));
const accepted = (answers: Array<{ status: number }>) => answers.filter(({ status }) => status === 202).length;

describe('the limit of waiting tasks', () => {
  let world: World;
  beforeAll(async () => {
    // Nobody works here, so what is accepted waits.
    world = await createWorld({ mode: 'api', env: { MAX_WAITING_TASKS_PER_USER: '20' } });
  });
  afterAll(() => world.close());
  const waiting = async (userId: string) =>
    (
      await world.db
        .selectFrom('tasks')
        .select('id')
        .where('user_id', '=', userId)
        .where('status', '=', 'pending')
        .execute()
    ).length;

  it('S42: is never passed, however many requests come at once, and does not touch other users', async () => {
    const user = await world.client();
    expect(accepted(await submitMany(user, 60))).toBe(20);
    expect(await waiting(user.userId)).toBe(20);
    const refused = await submit(user);
    const problem = expectProblem(refused, 'quota-exceeded');
    expect(problem['violated-policies']).toEqual(['waiting_tasks']);
    expect(problem.detail).toContain('at most 20');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await submit(await world.client())).status).toBe(202);
  });

  it('S42: counts scheduled tasks and each task of a batch, which is accepted whole or not at all', async () => {
    const user = await world.client();
    const batch = (count: number) =>
      user.request('POST', '/api/v1/tasks/batch', { tasks: Array.from({ length: count }, () => echo) });
    expect((await submit(user, { delay_seconds: 3600 })).status).toBe(202);
    expectProblem(await batch(20), 'quota-exceeded');
    expect(await waiting(user.userId)).toBe(0);
    expect((await batch(19)).status).toBe(202);
    expectProblem(await submit(user), 'quota-exceeded');
  });

  it('does not refuse the repetition of a request that has taken the last room', async () => {
    const user = await world.client();
    const send = (count: number) =>
      user.request(
        'POST',
        '/api/v1/tasks/batch',
        { tasks: Array.from({ length: count }, () => echo) },
        { 'idempotency-key': 'all' },
      );
    const first = await send(20);
    expect(first.status).toBe(202);
    expectProblem(await submit(user), 'quota-exceeded');
    expect(await send(20)).toMatchObject({ status: 202, body: first.body });
    expectProblem(await send(19), 'idempotency_key_reused');
    expect(await waiting(user.userId)).toBe(20);
  });

  it('has room again when tasks were cancelled', async () => {
    const user = await world.client();
    expect(accepted(await submitMany(user, 25))).toBe(20);
    const { body } = await user.request<{ data: Array<{ id: string }> }>('GET', '/api/v1/tasks');
    for (const { id } of body.data.slice(0, 3)) await user.request('POST', `/api/v1/tasks/${id}/cancel`);
    await until('there is room', async () => (await submit(user)).status === 202);
    expect(accepted(await submitMany(user, 5))).toBe(2);
    expect(await waiting(user.userId)).toBe(20);
  });

  it('S42: holds for tasks that are run again', async () => {
    const user = await world.client();
    const first = await user.submit('echo', { message: 'hi' });
    expect(accepted(await submitMany(user, 25))).toBe(19);
    await user.request('POST', `/api/v1/tasks/${first.id}/cancel`);
    await until('there is room', async () => (await submit(user)).status === 202);
    expectProblem(await user.request('POST', `/api/v1/tasks/${first.id}/retry`), 'quota-exceeded');
  });

  it('S42: is passed over several processes by no more than what they let in at the same moment', async () => {
    const user = await world.client();
    const there = anonymousClient((await world.join('api')).url as string, user.token);
    expect(accepted(await submitMany(user, 15))).toBe(15);
    expect(accepted(await submitMany(there, 15))).toBe(5);
    await until('the first process knows', async () => (await submit(user)).status === 429);
    expect(await waiting(user.userId)).toBeLessThanOrEqual(21);
  });

  it('can be another one for a user, or none', async () => {
    const user = await world.client();
    const limit = (limits: Partial<UserLimits>) => setUserLimits(world.db, user.userId, limits);
    await limit({ waiting_tasks: 1 });
    await until('the limit is known', async () => (await submit(user)).status === 429);
    await limit({ waiting_tasks: 0 });
    await until('there is no limit', async () => (await submit(user)).status === 202);
    expect(accepted(await submitMany(user, 30))).toBe(30);
  });
});

describe('the limit of tokens a day', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ env: { MAX_TOKENS_PER_DAY_PER_USER: '30' } });
  });
  afterAll(() => world.close());
  const chat = { messages: [{ role: 'user', content: 'hi' }] };
  const spent = async (userId: string) =>
    (await world.db.selectFrom('token_usage').select('tokens').where('user_id', '=', userId).execute()).map(
      ({ tokens }) => Number(tokens),
    );

  it('S42: is what the tasks of a user took; beyond it nothing more is accepted until midnight, UTC', async () => {
    const user = await world.client();
    let taken = 0;
    while (taken < 30) {
      const { usage } = await user.runTask('chat', chat);
      taken += (usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0);
      expect(await spent(user.userId)).toEqual([taken]);
    }
    const refused = await until('it is known', async () => {
      const answer = await submit(user);
      return answer.status === 429 && answer;
    });
    const problem = expectProblem(refused, 'quota-exceeded');
    expect(problem['violated-policies']).toEqual(['tokens_per_day']);
    const midnight = new Date(Date.now() + Number(refused.headers.get('retry-after')) * 1000);
    expect(Math.min(midnight.getTime() % 86_400_000, 86_400_000 - (midnight.getTime() % 86_400_000))).toBeLessThan(
      2_000,
    );
    expect((await submit(await world.client())).status).toBe(202);
    await world.db.updateTable('token_usage').set({ day: '2020-01-01' }).execute();
    await until('it is another day', async () => (await submit(user)).status === 202);
  });

  it('costs nothing where no model is asked', async () => {
    const user = await world.client();
    await user.runTask('echo', { message: 'hi' });
    expect(await spent(user.userId)).toEqual([]);
  });
});

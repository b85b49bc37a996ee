import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const echo = { type: 'echo', input: { message: 'hi' } };
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000).toISOString();

describe('what a submission says of its times and its agent', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
  });
  afterAll(() => world.close());

  const post = (body: object, headers?: Record<string, string>) =>
    client.request<PresentedTask>('POST', '/api/v1/tasks', { ...echo, ...body }, headers);

  async function newAgent(is_active: boolean): Promise<string> {
    const id = newId();
    const agent = { id, name: id, type: 'http' as const, endpoint: 'http://127.0.0.1:1', is_active };
    await world.db
      .insertInto('agents')
      .values({ ...agent, capabilities: '[]', config: '{}' })
      .execute();
    return id;
  }

  it.each([
    ['delay_seconds', { delay_seconds: 60, expires_in_seconds: 60 }, {}],
    ['scheduled_for', { scheduled_for: inSeconds(600), expires_in_seconds: 300 }, {}],
    ['delay_seconds and Cancel-After', { delay_seconds: 120 }, { 'cancel-after': '2m' }],
    ['scheduled_for and Cancel-After', { scheduled_for: inSeconds(7_200) }, { 'cancel-after': '1h' }],
  ])('refuses a deadline that lies before the start: %s', async (_, body, headers) => {
    const problem = expectProblem(await post(body, headers), 'validation_failed');
    expect(pointersOf(problem)).toEqual(['#/expires_in_seconds']);
    expect(problem.errors?.[0]?.detail).toMatch(/start.*(delay_seconds|scheduled_for)/);
  });

  it('refuses it in a batch too, and names the task', async () => {
    const tasks = [echo, { ...echo, delay_seconds: 5, expires_in_seconds: 2 }];
    const answer = await client.request('POST', '/api/v1/tasks/batch', { tasks });
    expect(pointersOf(expectProblem(answer, 'validation_failed'))).toEqual(['#/tasks/1/expires_in_seconds']);
  });

  it('gives every task of a batch the deadline of Cancel-After, where it names no earlier one', async () => {
    const tasks = [echo, { ...echo, expires_in_seconds: 30 }, { ...echo, expires_in_seconds: 900 }];
    const headers = { 'cancel-after': '1m' };
    const { body } = await client.request<{ tasks: PresentedTask[] }>(
      'POST',
      '/api/v1/tasks/batch',
      { tasks },
      headers,
    );
    const seconds = body.tasks.map(({ created_at, expires_at }) =>
      Math.round((Date.parse(String(expires_at)) - Date.parse(String(created_at))) / 1_000),
    );
    expect(seconds).toEqual([60, 30, 60]);
  });

  it('takes a deadline after the start, and starts the task at its time', async () => {
    const { status, body } = await post({ delay_seconds: 1, expires_in_seconds: 30 });
    expect([status, body.status]).toEqual([202, 'scheduled']);
    const ended = await client.waitForEnd(body.id);
    expect(ended.status).toBe('completed');
    expect(Date.parse(String(ended.started_at)) - Date.parse(String(ended.created_at))).toBeGreaterThanOrEqual(900);
  });

  it('waits for a task that starts later, where Prefer: wait asks for it', async () => {
    const { status, headers, body } = await post({ delay_seconds: 1 }, { prefer: 'wait=20' });
    expect([status, body.status, headers.get('preference-applied')]).toEqual([200, 'completed', 'wait=20']);
  });

  it('keeps the agent that is named, and refuses one that is not there or switched off', async () => {
    const [active, inactive] = [await newAgent(true), await newAgent(false)];
    const { status, body } = await post({ agent_id: active });
    expect([status, body.agent_id]).toEqual([202, active]);
    expect((await client.waitForEnd(body.id)).agent_id).toBe(active);
    for (const agent_id of [inactive, newId(), 'nobody'])
      expect(pointersOf(expectProblem(await post({ agent_id }), 'validation_failed'))).toEqual(['#/agent_id']);
    const tasks = [echo, { ...echo, agent_id: active }, { ...echo, agent_id: inactive }];
    const batch = await client.request('POST', '/api/v1/tasks/batch', { tasks });
    expect(pointersOf(expectProblem(batch, 'validation_failed'))).toEqual(['#/tasks/2/agent_id']);
  });

  it('ends a task by its deadline: one that runs is cancelled, and its call is closed', async () => {
    world.ollama.script = () => true;
    const called = world.ollama.nextCall('/api/chat');
    const chat = { messages: [{ role: 'user', content: 'hello' }] };
    const { id } = await client.submit('chat', chat, { expires_in_seconds: 600 });
    const { closedEarly } = await called;
    await world.db.updateTable('tasks').set({ expires_at: new Date() }).where('id', '=', id).execute();
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'cancelled', cancel_reason: 'deadline' });
    expect(await closedEarly).toBe(true);
    world.ollama.script = undefined;
  });

  it('stops an attempt at its time limit, as often as it may be tried', async () => {
    world.ollama.script = () => true;
    const chat = { messages: [{ role: 'user', content: 'hello' }] };
    const { id } = await client.submit('chat', chat, { timeout_seconds: 1, max_attempts: 1 });
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'timeout' } });
    world.ollama.script = undefined;
  });
});

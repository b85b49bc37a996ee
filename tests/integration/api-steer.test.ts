import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import type { Script } from '../support/fake-ollama.ts';
import { expectProblem } from '../support/problem.ts';
import { anonymousClient, BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

type Attempts = { data: Array<{ attempt: number; outcome: string }> };
const chat = { messages: [{ role: 'user', content: 'hi' }] };
const CANCELS = [
  [202, 'cancelling'],
  [200, 'cancelled'],
];
/** Says a word and then nothing more. */
const hang: Script = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  response.write(`${JSON.stringify({ message: { role: 'assistant', content: 'Well' }, done: false })}\n`);
  return true;
};

describe.each(BACKENDS)('cancelling and retrying on %s', (backend) => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ backend });
    client = await world.client();
  });
  afterAll(() => world.close());
  afterEach(() => {
    world.ollama.script = undefined;
  });

  const steer = (id: string, verb: 'cancel' | 'retry', by = client) =>
    by.request<PresentedTask>('POST', `/api/v1/tasks/${id}/${verb}`);
  const attemptsOf = async (id: string) =>
    (await client.request<Attempts>('GET', `/api/v1/tasks/${id}/attempts`)).body.data.map(({ attempt, outcome }) => [
      attempt,
      outcome,
    ]);
  async function startHanging() {
    world.ollama.script = hang;
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', chat);
    return { id, call: await called };
  }

  it('cancels a waiting task at once, and says the same when asked again', async () => {
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const first = await steer(id, 'cancel');
    expect([first.status, first.body.status]).toEqual([200, 'cancelled']);
    expect(first.body.cancel_reason).toBe(`by ${client.username}`);
    const again = await steer(id, 'cancel');
    expect([again.status, again.body]).toEqual([200, first.body]);
    expect(await attemptsOf(id)).toEqual([]);
  });

  it('closes the call to the model when a running task is cancelled', async () => {
    const { id, call } = await startHanging();
    const answer = await steer(id, 'cancel');
    // The worker may have let go before the answer was written.
    expect(CANCELS).toContainEqual([answer.status, answer.body.status]);
    expect(await call.closedEarly).toBe(true);
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'cancelled', output: null, error: null });
    expect((await steer(id, 'cancel')).status).toBe(200);
    expect(await attemptsOf(id)).toEqual([[1, 'cancelled']]);
  });

  it('closes it too when another process was asked', async () => {
    const other = await world.join('api');
    const { id, call } = await startHanging();
    const answer = await fetch(`${other.url}/api/v1/tasks/${id}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${client.token}` },
    });
    const { status } = (await answer.json()) as PresentedTask;
    expect(CANCELS).toContainEqual([answer.status, status]);
    expect(await call.closedEarly).toBe(true);
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'cancelled' });
  });

  it('refuses to cancel what has completed, and leaves it as it is', async () => {
    const ended = await client.runTask('echo', { message: 'x' });
    expect(expectProblem(await steer(ended.id, 'cancel'), 'task_ended').detail).toContain('completed');
    expect((await client.request('GET', `/api/v1/tasks/${ended.id}`)).body).toEqual(ended);
  });

  it('runs a completed task again, and keeps both attempts in the ledger', async () => {
    const { id } = await client.runTask('echo', { message: 'x' });
    const answer = await steer(id, 'retry');
    expect([answer.status, answer.body.id, answer.body.status]).toEqual([202, id, 'pending']);
    expect(answer.body).toMatchObject({ output: null, completed_at: null });
    expect(answer.headers.get('location')).toBe(`${world.url}/api/v1/tasks/${id}`);
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', output: { message: 'x' }, attempt: 2 });
    expect(await attemptsOf(id)).toEqual([
      [1, 'completed'],
      [2, 'completed'],
    ]);
  });

  it('runs a cancelled and a failed task again', async () => {
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await steer(id, 'cancel');
    expect((await steer(id, 'retry')).status).toBe(202);
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', cancel_reason: null });

    const failed = await client.runTask('chat', { ...chat, model: 'all-minilm' });
    expect(failed).toMatchObject({ status: 'failed', error: { code: 'model_error' } });
    expect((await steer(failed.id, 'retry')).body).toMatchObject({ status: 'pending', error: null });
    expect(await client.waitForEnd(failed.id)).toMatchObject({ status: 'failed', attempt: 2 });
  });

  it('refuses to retry what has not ended', async () => {
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    expect(expectProblem(await steer(id, 'retry'), 'task_running').detail).toContain('scheduled');
    const running = await startHanging();
    expectProblem(await steer(running.id, 'retry'), 'task_running');
    await steer(running.id, 'cancel');
    await client.waitForEnd(running.id);
  });

  it('lets one of many retries at once through', async () => {
    const { id } = await client.runTask('echo', { message: 'x' });
    const answers = await Promise.all(Array.from({ length: 8 }, () => steer(id, 'retry')));
    await client.waitForEnd(id);
    const accepted = answers.filter(({ status }) => status === 202).length;
    expect(accepted).toBeGreaterThanOrEqual(1);
    await expect.poll(async () => (await attemptsOf(id)).length).toBe(1 + accepted);
    expect(answers.every(({ status }) => status === 202 || status === 409)).toBe(true);
  });

  it('lets an operator steer the task of somebody else, and writes down who it was', async () => {
    const operator = await world.client('operator');
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const { status, body } = await steer(id, 'cancel', operator);
    expect([status, body.cancel_reason]).toEqual([200, `by ${operator.username}`]);
  });

  it('has no such task for an operator who may only read those of others', async () => {
    const operator = await world.client('operator');
    const scopes = ['tasks:read', 'tasks:read:any', 'tasks:steer', 'tasks:delete'];
    const { body } = await operator.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'k', scopes });
    const reading = anonymousClient(world.url, body.key);
    const { id } = await client.runTask('echo', { message: 'x' });
    expect((await reading.request('GET', `/api/v1/tasks/${id}`)).status).toBe(200);
    for (const verb of ['cancel', 'retry'] as const) expectProblem(await steer(id, verb, reading), 'not_found');
    expectProblem(await reading.request('DELETE', `/api/v1/tasks/${id}`), 'not_found');
  });

  it('refuses a viewer', async () => {
    const viewer = await world.client('viewer');
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    for (const verb of ['cancel', 'retry'] as const) expectProblem(await steer(id, verb, viewer), 'forbidden');
  });
});

it('answers 202 with cancelling for a running task whose worker has not heard yet, however often it is asked', async () => {
  const world = await createWorld({ mode: 'api' });
  const client = await world.client();
  const { id } = await client.submit('echo', { message: 'x' });
  const started = { status: 'running' as const, attempt: 1, lease_until: new Date(Date.now() + 600_000) };
  await world.db.updateTable('tasks').set(started).where('id', '=', id).execute();
  for (let times = 0; times < 2; times++) {
    const answer = await client.request<PresentedTask>('POST', `/api/v1/tasks/${id}/cancel`);
    expect([answer.status, answer.body.status, answer.body.completed_at]).toEqual([202, 'cancelling', null]);
  }
  await world.close();
});

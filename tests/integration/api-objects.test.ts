import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

describe('a list where an object belongs', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    client = await world.client();
  });
  afterAll(() => world.close());

  const send = (method: string, path: string, body: unknown) => client.request<{ id: string }>(method, path, body);
  async function refuses(method: string, path: string, body: unknown, pointer = '#'): Promise<void> {
    const problem = expectProblem(await send(method, path, body), 'validation_failed');
    expect(problem.errors).toEqual([{ pointer, detail: 'must be an object' }]);
  }

  it('is refused as a body, also where all fields may be left out', async () => {
    const id = '0199a5c2-7d1d-7001-8b00-000000000001';
    for (const body of [[], [{}], 5, '"x"']) {
      await refuses('POST', '/api/v1/tasks', body);
      await refuses('POST', `/api/v1/tasks/${id}/retry`, body);
      await refuses('PATCH', `/api/v1/schedules/${id}`, body);
      await refuses('PATCH', `/api/v1/webhooks/${id}`, body);
    }
  });

  it.each([
    [{ type: 'generate', input: { prompt: 'x', options: [] } }, '#/input/options'],
    [{ type: 'chat', input: { messages: [{ role: 'user', content: 'x' }], options: [] } }, '#/input/options'],
    [{ type: 'chat', input: { messages: [[]] } }, '#/input/messages/0'],
    [{ type: 'echo', input: [] }, '#/input'],
    [{ type: 'echo', input: { message: 'x' }, webhook: [] }, '#/webhook'],
    [{ type: 'echo', input: { message: 'x' }, concurrency_key: [] }, '#/concurrency_key'],
  ])('is refused in %j', async (body, pointer) => {
    await refuses('POST', '/api/v1/tasks', body, pointer);
  });

  it('is refused as the task of a batch, of a schedule, and as the filter of a bulk action', async () => {
    await refuses('POST', '/api/v1/tasks/batch', { tasks: [[]] }, '#/tasks/0');
    await refuses('POST', '/api/v1/schedules', { every_seconds: 60, task: [] }, '#/task');
    await refuses('POST', '/api/v1/tasks/bulk', { action: 'cancel', filter: [] }, '#/filter');
  });

  it('is no matter of length: a title holds 255 characters, whatever they take', async () => {
    const title = '\u{1f600}'.repeat(255);
    const task = { type: 'echo', input: { message: 'x' } };
    const { status, body } = await client.request<PresentedTask>('POST', '/api/v1/tasks', { ...task, title });
    expect([status, body.title]).toEqual([202, title]);
    expectProblem(await send('POST', '/api/v1/tasks', { ...task, title: `${title}a` }), 'validation_failed');
  });
});

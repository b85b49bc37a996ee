import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

describe.each(BACKENDS)('the way of a task on %s', (backend) => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ backend });
    client = await world.client();
  });
  afterAll(() => world.close());

  it('answers 202 with the task, where it is and when to ask again', async () => {
    const answer = await client.request<PresentedTask>('POST', '/api/v1/tasks', {
      type: 'echo',
      input: { message: 'hi' },
      title: 'T',
      tags: ['a'],
      metadata: { k: 1 },
      priority: 3,
    });
    expect(answer.status).toBe(202);
    expect(answer.headers.get('location')).toBe(`${world.url}/api/v1/tasks/${answer.body.id}`);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(answer.body).toMatchObject({
      type: 'echo',
      status: 'pending',
      title: 'T',
      tags: ['a'],
      metadata: { k: 1 },
      priority: 3,
      attempt: 0,
      max_attempts: 3,
      user_id: client.userId,
    });
    const ended = await client.waitForEnd(answer.body.id);
    expect(ended).toMatchObject({ status: 'completed', output: { message: 'hi' }, attempt: 1, error: null });
  });

  it('holds the answer until the end when the client prefers to wait', async () => {
    const answer = await client.request<PresentedTask>(
      'POST',
      '/api/v1/tasks',
      { type: 'echo', input: { message: 'now' } },
      { prefer: 'wait=20' },
    );
    expect(answer.status).toBe(200);
    expect(answer.headers.get('preference-applied')).toBe('wait=20');
    expect(answer.body.output).toEqual({ message: 'now' });
  });

  it('writes each attempt into the ledger', async () => {
    const { id } = await client.runTask('chat', { messages: [{ role: 'user', content: 'hello' }] });
    const { body } = await client.request<{ data: unknown[] }>('GET', `/api/v1/tasks/${id}/attempts`);
    expect(body.data).toEqual([
      expect.objectContaining({
        attempt: 1,
        outcome: 'completed',
        ...{ model: 'tinyllama:latest', model_digest: 'sha256:tinyllama:latest', host: 'host-1' },
        error: null,
        usage: { input_tokens: 7, output_tokens: 5, load_ms: 10, run_ms: 20 },
      }),
    ]);
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const SECRET = 'a secret of the owner';

describe('what is in a task', () => {
  let world: World;
  let owner: Client;
  beforeAll(async () => {
    world = await createWorld();
    owner = await world.client();
  });
  afterAll(() => world.close());

  const finished = () => owner.runTask('echo', { message: SECRET }, { metadata: { note: SECRET } });

  it('S24: is not shown to an operator, who may read and steer the task, on any route that answers it', async () => {
    const operator = await world.client('operator');
    const { id } = await finished();
    const waiting = await owner.submit('echo', { message: SECRET }, { metadata: { note: SECRET }, delay_seconds: 600 });
    const answers = [
      await operator.request<PresentedTask>('GET', `/api/v1/tasks/${id}`),
      await operator.request<PresentedTask>('POST', `/api/v1/tasks/${waiting.id}/cancel`),
      await operator.request<PresentedTask>('POST', `/api/v1/tasks/${waiting.id}/retry`),
    ];
    const list = await operator.request<{ data: PresentedTask[] }>('GET', '/api/v1/tasks');
    expect(list.body.data.map((task) => task.id)).toEqual(expect.arrayContaining([id, waiting.id]));
    for (const task of [...answers.map(({ body }) => body), ...list.body.data]) {
      expect(task).toMatchObject({ user_id: owner.userId, input: null, output: null, metadata: null });
      expect(JSON.stringify(task)).not.toContain(SECRET);
    }
  });

  it('is shown to its owner and to an admin, and to an operator where it is their own', async () => {
    const { id } = await finished();
    const whole = { input: { message: SECRET }, output: { message: SECRET }, metadata: { note: SECRET } };
    for (const client of [owner, await world.client('admin')])
      expect((await client.request('GET', `/api/v1/tasks/${id}`)).body).toMatchObject(whole);
    const operator = await world.client('operator');
    const own = await operator.runTask('echo', { message: SECRET }, { metadata: { note: SECRET } });
    expect(own).toMatchObject(whole);
  });
});

import { afterEach, describe, expect, it } from 'vitest';
import { until } from '../support/until.ts';
import { BACKENDS, createWorld, type World } from '../support/world.ts';

describe.each(BACKENDS)('workers on %s', (backend) => {
  let world: World | undefined;
  afterEach(async () => {
    await world?.close();
    world = undefined;
  });

  it('start what waits by priority, and what is alike in the order of arrival', async () => {
    world = await createWorld({ backend, mode: 'start', env: { WORKER_LANES: 'webhook' } });
    const client = await world.client();
    const priorities = [5, 1, 10, 5, 2, 1];
    for (const priority of priorities)
      await client.submit('echo', { message: 'x' }, { priority, title: `${priority}` });
    await world.join('worker', { WORKER_LANES: 'system', WORKER_CONCURRENCY: '1' });
    const { db } = world;
    const all = () => db.selectFrom('tasks').select(['id', 'priority', 'status', 'started_at']).orderBy('id').execute();
    const ended = await until('all have ended', async () => {
      const tasks = await all();
      return tasks.every(({ status }) => status === 'completed') && tasks;
    });
    const started = ended.toSorted((a, b) => a.started_at!.getTime() - b.started_at!.getTime());
    const wanted = ended.toSorted((a, b) => a.priority - b.priority);
    expect(started.map(({ id }) => id)).toEqual(wanted.map(({ id }) => id));
  });

  it('share the load, and nothing runs twice', async () => {
    world = await createWorld({ backend });
    await world.join('worker');
    const client = await world.client();
    const tasks = Array.from({ length: 200 }, (_, n) => ({ type: 'echo', input: { message: `${n}` } }));
    expect((await client.request('POST', '/api/v1/tasks/batch', { tasks })).status).toBe(202);
    const { db } = world;
    await until('all have ended', async () => {
      const left = await db.selectFrom('tasks').select('id').where('status', '<>', 'completed').execute();
      return left.length === 0;
    });
    const ledger = await db.selectFrom('attempts').selectAll().execute();
    expect(ledger).toHaveLength(200);
    expect(new Set(ledger.map(({ task_id, outcome }) => `${task_id} ${outcome}`)).size).toBe(200);
    const rows = await db.selectFrom('tasks').select(['input', 'output', 'generation']).execute();
    for (const { input, output, generation } of rows) expect([output, generation]).toEqual([input, 0]);
  });
});

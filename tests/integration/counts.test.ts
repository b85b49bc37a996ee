import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rawRequest } from '../support/raw-http.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

describe.each(BACKENDS)('the counts on %s', (backend) => {
  let world: World;
  let admin: Client;
  let cookie: string;
  beforeAll(async () => {
    // The first lanes wait for a worker, the last one has it.
    world = await createWorld({ backend, env: { WORKER_LANES: 'system' } });
    admin = await world.client('admin');
    const form = new URLSearchParams({ login: 'admin', password: ADMIN_PASSWORD }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded', origin: world.url };
    const answer = await rawRequest(world.url, { method: 'POST', path: '/admin/login', headers, chunks: [form] });
    cookie = (answer.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  });
  afterAll(() => world.close());

  async function listed(): Promise<Record<string, number>> {
    const { body } = await admin.request<{ data: Array<{ status: string }> }>('GET', '/api/v1/tasks?limit=200');
    const counts: Record<string, number> = {};
    for (const { status } of body.data) counts[status] = (counts[status] ?? 0) + 1;
    return counts;
  }

  async function onTheBoard(): Promise<Record<string, number>> {
    const answer = await rawRequest(world.url, {
      method: 'GET',
      path: '/admin/queues/api/queues',
      headers: { cookie },
      chunks: [],
    });
    const counts: Record<string, number> = {};
    for (const queue of JSON.parse(answer.body).queues) {
      for (const [state, count] of Object.entries(queue.counts as Record<string, number>))
        counts[state] = (counts[state] ?? 0) + count;
    }
    return counts;
  }

  async function inReadiness(): Promise<Record<string, unknown>> {
    const { body } = await admin.request<{ dependencies: Array<{ name: string }> }>('GET', '/readyz');
    return body.dependencies.find(({ name }) => name === 'queues') as Record<string, unknown>;
  }

  it('of the list of tasks, of /readyz and of the dashboard agree', async () => {
    const prompts = Array.from({ length: 7 }, (_, index) => ({
      type: 'generate',
      input: { prompt: `p${index}` },
      priority: 1 + index,
    }));
    const { body } = await admin.request<{ tasks: Array<{ id: string }> }>('POST', '/api/v1/tasks/batch', {
      tasks: prompts,
    });
    for (const { id } of body.tasks.slice(0, 2)) await admin.request('POST', `/api/v1/tasks/${id}/cancel`);
    await admin.submit('generate', { prompt: 'later' }, { delay_seconds: 3600 });
    for (const message of ['a', 'b', 'c']) await admin.runTask('echo', { message });

    expect(await listed()).toEqual({ pending: 5, cancelled: 2, scheduled: 1, completed: 3 });
    await until('the last job is noted as completed', async () => (await onTheBoard()).completed === 3);
    const { waiting = 0, prioritized = 0, delayed, active, completed, failed } = await onTheBoard();
    expect({ waiting: waiting + prioritized, delayed, active, completed, failed }).toEqual({
      waiting: 5,
      delayed: 1,
      active: 0,
      completed: 3,
      failed: 0,
    });
    await until('the readiness is asked anew', async () => (await inReadiness()).waiting === 5);
    expect(await inReadiness()).toMatchObject({ waiting: 5, active: 0, delayed: 1 });
  });
});

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { echo, HOURLY, type Schedule, useSchedules } from '../support/schedules.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

describe('schedules', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ env: { MAX_SCHEDULES_PER_USER: '5' } });
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    client = await world.client();
  });

  const { post, make, patch } = useSchedules(() => client);

  const refused: Array<[string, object, string]> = [
    ['no time', { cron: undefined, every_seconds: undefined }, '#/cron'],
    ['two times', { cron: '* * * * *' }, '#/every_seconds'],
    ['a cron expression that is none', { every_seconds: undefined, cron: 'soon' }, '#/cron'],
    ['a time that never comes', { every_seconds: undefined, cron: '0 0 31 2 *' }, '#/cron'],
    ['a zone that is none', { timezone: 'Mars/Olympus' }, '#/timezone'],
    ['less than a second', { every_seconds: 0 }, '#/every_seconds'],
    ['half a second more', { every_seconds: 1.5 }, '#/every_seconds'],
    ['an unknown way to catch up', { catch_up: 'all' }, '#/catch_up'],
    ['a task of an unknown type', { task: { type: 'nonsense', input: {} } }, '#/task/type'],
    ['an input that does not fit', { task: { type: 'echo', input: { message: 5 } } }, '#/task/input/message'],
    ['a start in the task', { task: { ...echo, delay_seconds: 5 } }, '#/task/delay_seconds'],
    ['a time in the task', { task: { ...echo, scheduled_for: '2030-01-01T00:00:00Z' } }, '#/task/scheduled_for'],
    [
      'a webhook at a private address',
      { task: { ...echo, webhook: { url: 'http://10.0.0.1/' } } },
      '#/task/webhook/url',
    ],
    ['an agent that is not there', { task: { ...echo, agent_id: newId() } }, '#/task/agent_id'],
    ['a count that nobody may set', { missed: 5 }, '#/missed'],
  ];
  it.each(refused)('refuses %s, and says where', async (_, wrong, pointer) => {
    const problem = expectProblem(await post({ ...HOURLY, ...wrong }), 'validation_failed');
    expect(pointersOf(problem)).toEqual([pointer]);
    expect((await client.request<{ data: unknown[] }>('GET', '/api/v1/schedules')).body.data).toEqual([]);
  });

  it('gives an example where the time is wrong', async () => {
    const cron = expectProblem(await post({ cron: '99 * * * *', task: echo }), 'validation_failed');
    expect(cron.errors?.[0]?.detail).toMatch(/minute: 99.*30 2 \* \* 1-5/);
    const zone = expectProblem(await post({ ...HOURLY, timezone: 'Berlin' }), 'validation_failed');
    expect(zone.errors?.[0]?.detail).toContain('Europe/Berlin');
  });

  it('holds an API key to its types and its priority', async () => {
    const limits = { name: 'narrow', task_types: ['chat'], priority_ceiling: 7 };
    const key = anonymousClient(
      world.url,
      (await client.request<{ key: string }>('POST', '/api/v1/api-keys', limits)).body.key,
    );
    const made = await make();
    const asked = { ...HOURLY, task: { type: 'chat', input: { messages: [{ role: 'user', content: 'x' }] } } };
    expectProblem(await key.request('POST', '/api/v1/schedules', HOURLY), 'forbidden');
    expectProblem(
      await key.request('POST', '/api/v1/schedules', { ...asked, task: { ...asked.task, priority: 1 } }),
      'forbidden',
    );
    expectProblem(await key.request('PATCH', `/api/v1/schedules/${made.id}`, { enabled: true }), 'forbidden');
    expectProblem(await key.request('POST', `/api/v1/schedules/${made.id}/run`), 'forbidden');
    const own = await key.request<Schedule>('POST', '/api/v1/schedules', asked);
    expect([own.status, own.body.task.priority]).toEqual([201, 7]);
  });

  it('does not let an API key submit by a schedule what it may not submit at all', async () => {
    const asked = { name: 'no tasks', scopes: ['schedules:read', 'schedules:write', 'tasks:read'] };
    const { body } = await client.request<{ key: string }>('POST', '/api/v1/api-keys', asked);
    const key = anonymousClient(world.url, body.key);
    const made = await make();
    const problem = expectProblem(await key.request('POST', '/api/v1/schedules', HOURLY), 'forbidden');
    expect(problem.detail).toContain('tasks:create');
    expectProblem(await key.request('PATCH', `/api/v1/schedules/${made.id}`, { enabled: true }), 'forbidden');
    expectProblem(await key.request('POST', `/api/v1/schedules/${made.id}/run`), 'forbidden');
    expect((await key.request('DELETE', `/api/v1/schedules/${made.id}`)).status).toBe(204);
  });

  it('allows so many a user, also where they are made at once, and one by the same Idempotency-Key', async () => {
    const headers = { 'idempotency-key': newId() };
    const same = [await post(HOURLY, headers), await post(HOURLY, headers)];
    expect(new Set(same.map(({ body }) => body.id)).size).toBe(1);
    const answers = await Promise.all(Array.from({ length: 8 }, () => post(HOURLY)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(4);
    expectProblem(answers.find(({ status }) => status !== 201)!, 'limit_reached');
  });

  it('is gone when it was deleted, and its tasks stay; the audit log tells of it', async () => {
    const made = await make({ ...HOURLY, name: 'short' });
    await patch(made.id, { name: 'renamed' });
    const { body: task } = await client.request<PresentedTask>('POST', `/api/v1/schedules/${made.id}/run`);
    expect((await client.request('DELETE', `/api/v1/schedules/${made.id}`)).status).toBe(204);
    expectProblem(await client.request('GET', `/api/v1/schedules/${made.id}`), 'not_found');
    expectProblem(await client.request('DELETE', `/api/v1/schedules/${made.id}`), 'not_found');
    expect((await client.waitForEnd(task.id)).schedule_id).toBe(made.id);
    const admin = await world.client('admin');
    const { body } = await admin.request<{ data: Array<{ action: string; details: unknown }> }>(
      'GET',
      `/api/v1/audit?object_id=${made.id}`,
    );
    expect(body.data.map(({ action }) => action)).toEqual(['schedule.delete', 'schedule.update', 'schedule.create']);
    expect(JSON.stringify(body.data)).not.toContain('tick');
  });

  it('goes with its user', async () => {
    const made = await make();
    const admin = await world.client('admin');
    expect((await admin.request('DELETE', `/api/v1/users/${client.userId}`)).status).toBe(204);
    expect(await world.db.selectFrom('schedules').select('id').where('id', '=', made.id).execute()).toEqual([]);
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem } from '../support/problem.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

describe('what somebody may do to many tasks', () => {
  let world: World;
  let owner: Client;
  beforeAll(async () => {
    world = await createWorld();
    owner = await world.client();
  });
  afterAll(() => world.close());

  const ask = (by: Client, body: object) => by.request<PresentedTask>('POST', '/api/v1/tasks/bulk', body);
  const waiting = (tag: string, by = owner) => by.submit('echo', { message: 'x' }, { tags: [tag], delay_seconds: 600 });
  const statusOf = async (id: string) => (await owner.request<PresentedTask>('GET', `/api/v1/tasks/${id}`)).body.status;
  async function keyOf(made: object, by = owner): Promise<Client & { id: string }> {
    const { body } = await by.request<{ key: string; id: string }>('POST', '/api/v1/api-keys', { name: 'k', ...made });
    return { ...anonymousClient(world.url, body.key), id: body.id };
  }
  /** Does something after the bulk is accepted and before it is run. */
  async function meanwhile(by: Client, body: object, change: () => Promise<unknown>): Promise<PresentedTask> {
    const admin = await world.client('admin');
    await admin.request('POST', '/api/v1/monitoring/queues/system/pause');
    const asked = await ask(by, body);
    expect(asked.status).toBe(202);
    await change();
    await admin.request('POST', '/api/v1/monitoring/queues/system/resume');
    return admin.waitForEnd(asked.body.id);
  }
  const auditOf = (id: string) =>
    world.db
      .selectFrom('audit_log')
      .select(['action', 'actor_name', 'details'])
      .where('object_id', '=', id)
      .orderBy('id')
      .execute();

  it('others: an operator who says so, and the audit log tells of the request and of each batch', async () => {
    const other = await world.client();
    const [mine, theirs, foreign] = [await waiting('o'), await waiting('o'), await waiting('o', other)];
    const operator = await world.client('operator');
    const own = await ask(operator, { action: 'cancel', filter: { tag: 'o' } });
    expect(await operator.waitForEnd(own.body.id)).toMatchObject({ output: { matched: 0 } });
    expect(await auditOf(own.body.id)).toEqual([]);

    const { body } = await ask(operator, { action: 'cancel', filter: { tag: 'o' }, owner: owner.userId });
    expect(await operator.waitForEnd(body.id)).toMatchObject({ output: { matched: 2, changed: 2 } });
    expect([await statusOf(mine.id), await statusOf(theirs.id)]).toEqual(['cancelled', 'cancelled']);
    const by = { action: 'task.bulk', actor_name: operator.username };
    const [first, last] = [mine.id, theirs.id].sort();
    expect(await auditOf(body.id)).toEqual([
      { ...by, details: { action: 'cancel', owner: owner.userId, filter: ['tag'] } },
      { ...by, details: { action: 'cancel', owner: owner.userId, changed: 2, first, last } },
    ]);
    const all = await ask(operator, { action: 'cancel', filter: { tag: 'o' }, owner: 'any' });
    expect(await operator.waitForEnd(all.body.id)).toMatchObject({ output: { matched: 1, changed: 1 } });
    expect((await other.request<PresentedTask>('GET', `/api/v1/tasks/${foreign.id}`)).body.status).toBe('cancelled');
  });

  it('is refused to those who may not, and then nothing is made', async () => {
    const { id } = await waiting('r');
    const filter = { tag: 'r' };
    const before = await world.db.selectFrom('tasks').select('id').execute();
    const reading = await keyOf({ scopes: ['tasks:read'] });
    const steering = await keyOf({ scopes: ['tasks:read', 'tasks:steer'] });
    const operator = await keyOf({ scopes: ['tasks:steer', 'tasks:delete'] }, await world.client('operator'));
    for (const [who, body] of [
      [await world.client('viewer'), { action: 'cancel', filter }],
      [owner, { action: 'cancel', filter, owner: 'any' }],
      [await world.client(), { action: 'cancel', filter, owner: owner.userId }],
      [reading, { action: 'cancel', filter }],
      [steering, { action: 'delete', filter }],
      [operator, { action: 'cancel', filter, owner: 'any' }],
      [operator, { action: 'cancel', filter, owner: 'any', dry_run: true }],
    ] as const)
      expectProblem(await ask(who, body), 'forbidden');
    expect(await world.db.selectFrom('tasks').select('id').execute()).toEqual(before);
    expect(await statusOf(id)).toBe('scheduled');
  });

  it('is what they may when it runs: not after their role, account or key has gone', async () => {
    const { id } = await waiting('w');
    const operator = await world.client('operator');
    const demote = () =>
      world.db.updateTable('users').set({ role: 'user' }).where('id', '=', operator.userId).execute();
    const lost = await meanwhile(operator, { action: 'cancel', filter: { tag: 'w' }, owner: 'any' }, demote);
    expect(lost).toMatchObject({ status: 'failed', error: { code: 'forbidden', retryable: false } });
    expect(lost.error?.message).toContain('tasks:steer:any');
    expect(await statusOf(id)).toBe('scheduled');

    const key = await keyOf({});
    const revoke = () => owner.request('DELETE', `/api/v1/api-keys/${key.id}`);
    const revoked = await meanwhile(key, { action: 'cancel', filter: { tag: 'w' } }, revoke);
    expect(revoked).toMatchObject({ status: 'failed', error: { code: 'forbidden' } });
    expect(await statusOf(id)).toBe('scheduled');

    const leaver = await world.client();
    const switchOff = () =>
      world.db.updateTable('users').set({ is_active: false }).where('id', '=', leaver.userId).execute();
    const off = await meanwhile(leaver, { action: 'cancel', filter: { tag: 'w' } }, switchOff);
    expect(off).toMatchObject({ status: 'failed', error: { code: 'forbidden' } });
  });

  it('is for an API key what it may run itself: its types, and not before its priority', async () => {
    const tags = ['k'];
    const late = await owner.runTask('echo', { message: 'x' }, { tags, priority: 8 });
    const early = await owner.runTask('echo', { message: 'x' }, { tags, priority: 2 });
    const chatting = await keyOf({ task_types: ['chat'] });
    const none = await ask(chatting, { action: 'retry', filter: { tag: 'k' } });
    expect(await owner.waitForEnd(none.body.id)).toMatchObject({ output: { matched: 0 } });
    const patient = await keyOf({ priority_ceiling: 6 });
    const { body } = await ask(patient, { action: 'retry', filter: { tag: 'k' } });
    expect(await owner.waitForEnd(body.id)).toMatchObject({ output: { matched: 1, changed: 1 }, priority: 6 });
    expect(await owner.waitForEnd(late.id)).toMatchObject({ attempt: 2 });
    expect(await owner.waitForEnd(early.id)).toMatchObject({ attempt: 1 });
  });

  it('leaves what ended only after it was asked for', async () => {
    const before = await owner.runTask('echo', { message: 'x' }, { tags: ['b'] });
    let after = before;
    const done = await meanwhile(owner, { action: 'retry', filter: { tag: 'b', type: 'generate' } }, async () => {
      after = await owner.runTask('generate', { prompt: 'x' }, { tags: ['b'] });
    });
    expect(after.status).toBe('completed');
    expect(done).toMatchObject({ output: { matched: 0 } });
    expect(await owner.waitForEnd(after.id)).toMatchObject({ attempt: 1 });
  });
});

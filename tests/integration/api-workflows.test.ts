import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cancelTask, retryTask } from '../../src/db/tasks/steer.ts';
import { decideStep } from '../../src/db/workflows/decide.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { addAgent } from '../support/add-agent.ts';
import { expectProblem } from '../support/problem.ts';
import { startScriptedHttp } from '../support/scripted-http.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

describe('a workflow', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
  });
  afterAll(() => world.close());

  const stepsOf = async (id: string) => {
    const rows = await world.db.selectFrom('workflow_steps').selectAll().where('workflow_id', '=', id).execute();
    return new Map(rows.map((row) => [row.item < 0 ? row.step : `${row.step}[${row.item}]`, row]));
  };
  const partsOf = (id: string) =>
    world.db.selectFrom('tasks').selectAll().where('parent_id', '=', id).orderBy('id').execute();
  /** Resolves once its step `ask` waits, and the workflow too: until it is parked, a worker has it. */
  async function asking(id: string): Promise<void> {
    await until('a step that waits', async () => (await stepsOf(id)).get('ask')?.status === 'awaiting');
    const task = world.db.selectFrom('tasks').select('awaiting').where('id', '=', id);
    await until('it is parked', async () => (await task.executeTakeFirstOrThrow()).awaiting === 'steps');
  }

  const say = (id: string, message: string, more: object = {}) => ({ id, type: 'echo', input: { message }, ...more });
  /** A task that its type refuses, because the model is not there. */
  const failing = (id: string, more: object = {}) => ({
    ...{ id, type: 'generate', input: { prompt: 'hi', model: 'nowhere', fallback: false }, retry: { max_attempts: 1 } },
    ...more,
  });

  it('hands outputs on, fans out over a list with a limit, and gathers what came of it', async () => {
    const task = await client.runTask(
      'workflow',
      {
        input: { names: ['a', 'b', 'c', 'd'], loud: false },
        steps: [
          say('last', '${{ steps.each.output }} ${{ steps.shout.status }}', { needs: ['shout'] }),
          say('first', 'hello'),
          say('each', '${{ steps.first.output.message }} ${{ item }} ${{ string(index) }}', {
            for_each: 'input.names',
            max_parallel: 2,
          }),
          say('shout', 'HELLO', { when: 'input.loud' }),
        ],
        output: { all: '${{ steps.each.output }}', said: '${{ steps.last.output.message }}' },
      },
      { priority: 3 },
    );
    const all = ['a 0', 'b 1', 'c 2', 'd 3'].map((end) => ({ message: `hello ${end}` }));
    expect(task.error).toBeNull();
    expect(task.output).toEqual({
      output: { all, said: `${JSON.stringify(all)} skipped` },
      steps: { completed: 3, skipped: 1, failed: 0 },
    });
    const parts = await partsOf(task.id);
    expect(parts.map(({ title }) => title).sort()).toEqual([
      'each[0]',
      'each[1]',
      'each[2]',
      'each[3]',
      'first',
      'last',
    ]);
    expect(
      parts.every(({ priority, user_id, attempt }) => priority === 3 && user_id === client.userId && attempt === 1),
    ).toBe(true);
  });

  it('that fails undoes what it did, the last first, and goes on from there when it is retried', async () => {
    const undo = (word: string) => ({ compensate: { type: 'echo', input: { message: `no ${word}` } } });
    const failed = await client.runTask('workflow', {
      steps: [
        say('kept', 'kept'),
        say('one', 'one', { needs: ['kept'], ...undo('${{ output.message }}') }),
        say('two', 'two', { needs: ['one'], ...undo('two') }),
        failing('bad', { needs: ['two'], on_failure: 'compensate' }),
        say('after', 'after', { needs: ['bad'] }),
      ],
    });
    expect([failed.status, failed.error?.code]).toEqual(['failed', 'step_failed']);
    expect(failed.error?.message).toMatch(/^The step bad failed: model_unavailable: .* 2 steps were undone\.$/);
    const undone = (await partsOf(failed.id)).filter(({ title }) => title?.startsWith('undo'));
    expect(undone.map(({ title, output }) => [title, output])).toEqual([
      ['undo two', { message: 'no two' }],
      ['undo one', { message: 'no one' }],
    ]);
    const before = await stepsOf(failed.id);
    expect([...before].map(([step, { status }]) => [step, status])).toContainEqual(['after', 'cancelled']);

    await client.request('POST', `/api/v1/tasks/${failed.id}/retry`);
    expect((await client.waitForEnd(failed.id)).status).toBe('failed');
    const after = await stepsOf(failed.id);
    expect(after.get('kept')?.child_id).toBe(before.get('kept')?.child_id);
    expect(after.get('one')?.child_id).not.toBe(before.get('one')?.child_id);
  });

  it('goes on over a step that may fail, and answers what nobody needs', async () => {
    const task = await client.runTask('workflow', {
      steps: [
        failing('maybe', { on_failure: 'continue' }),
        say('next', '${{ steps.maybe.error.code }} ${{ steps.maybe.status }}'),
      ],
    });
    expect(task.output).toEqual({
      output: { next: { message: 'model_unavailable failed' } },
      steps: { completed: 1, skipped: 0, failed: 1 },
    });
  });

  it('takes what it began along when it is cancelled, and begins again where it was', async () => {
    const { id } = await client.submit('workflow', {
      steps: [
        say('first', 'first'),
        { id: 'ask', type: 'approval', needs: ['first'] },
        say('last', 'last', { needs: ['ask'] }),
      ],
    });
    await asking(id);
    const parked = await client.request<PresentedTask>('GET', `/api/v1/tasks/${id}`);
    expect(parked.body.status).toBe('running');
    const cancelled = await client.request<PresentedTask>('POST', `/api/v1/tasks/${id}/cancel`);
    expect(cancelled.body.status).toBe('cancelled');
    const by = { id: client.userId, username: client.username };
    const decide = (approved: boolean) =>
      decideStep(world.db, { workflowId: id, step: 'ask', approved, by, comment: 'fine' });
    expect(await decide(true)).toBe('not_waiting');
    await client.request('POST', `/api/v1/tasks/${id}/retry`);
    await until('a step that waits again', async () => (await decide(true)) === 'decided');
    expect(await decide(false)).toBe('not_waiting');
    const done = await client.waitForEnd(id);
    expect(done.output).toMatchObject({ output: { last: { message: 'last' } } });
    expect((await partsOf(id)).map(({ title }) => title).sort()).toEqual(['first', 'last']);
    expect((await stepsOf(id)).get('ask')?.output).toMatchObject({
      approved: true,
      by: client.username,
      comment: 'fine',
    });
  });

  it('takes all that it is at along at its deadline, wherever that stands, and begins again without one', async () => {
    const host = await startScriptedHttp();
    const agent = { name: 'later', userId: client.userId, endpoint: `${host.url}/later`, config: { async: {} } };
    const agentId = await addAgent(world, agent);
    host.script((answer, { url }) => void (url === '/later' && answer.writeHead(202).end()));
    const silent = { type: 'http.request', input: { method: 'GET', url: `${host.url}/silent` } };
    const asking = { id: 'ask', type: 'approval', expires_in_seconds: 600 };
    await client.request('POST', '/api/v1/workflows', { name: 'asking', steps: [asking] });
    const { id } = await client.submit('workflow', {
      steps: [
        { id: 'runs', ...silent },
        { id: 'list', for_each: [1, 2], max_parallel: 1, ...silent },
        { id: 'later', type: 'agent.run', input: { agent: 'later', input: 1 } },
        { id: 'inner', type: 'workflow', input: { workflow: 'asking' } },
        asking,
        say('after', 'after', { needs: ['runs'] }),
      ],
      output: {},
    });
    const partOf = async (title: string) => (await partsOf(id)).find((part) => part.title === title);
    const awaited = async (title: string) => (await partOf(title))?.awaiting;
    const inner = async () => (await stepsOf((await partOf('inner'))?.id as string)).get('ask')?.status;
    await until('all of it is under way', async () => {
      const silences = host.asked.filter(({ url }) => url === '/silent').length;
      return silences === 2 && (await awaited('later')) === 'callback' && (await awaited('inner')) === 'steps';
    });
    await until('the humans are asked', async () => (await inner()) === 'awaiting');
    expect(Object.fromEntries([...(await stepsOf(id))].map(([step, { status }]) => [step, status]))).toEqual({
      ...{ runs: 'running', list: 'running', 'list[0]': 'running', 'list[1]': 'waiting', later: 'running' },
      ...{ inner: 'running', ask: 'awaiting', after: 'waiting' },
    });

    await sql`update tasks set expires_at = now() where id = ${id}`.execute(world.db);
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'cancelled', cancel_reason: 'deadline' });
    await until('all of it is over', async () => {
      const steps = [...(await stepsOf(id)).values(), { status: await inner() }];
      const parts = await partsOf(id);
      return steps.every(({ status }) => status === 'cancelled') && parts.every(({ completed_at }) => completed_at);
    });
    const parts = (await partsOf(id)).map(({ title, status, cancel_reason }) => `${title} ${status} ${cancel_reason}`);
    const names = ['inner', 'later', 'list[0]', 'runs'];
    expect(parts.sort()).toEqual(names.map((name) => `${name} cancelled parent`));
    for (const task of [id, (await partOf('inner'))?.id])
      expectProblem(await client.request('POST', `/api/v1/tasks/${task}/approve`, { step: 'ask' }), 'not_waiting');
    const address = host.asked.find(({ url }) => url === '/later')?.headers['sutazai-callback'];
    expect((await fetch(String(address), { method: 'POST' })).status).toBe(410);
    const health = await client.request<{ running: number }>('GET', `/api/v1/agents/${agentId}/health`);
    expect(health.body.running).toBe(0);

    const again = await client.request<PresentedTask>('POST', `/api/v1/tasks/${id}/retry`);
    expect(again.body).toMatchObject({ expires_at: null });
    await until('a human is asked again', async () => (await stepsOf(id)).get('ask')?.status === 'awaiting');
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    await until('nothing is at work', async () => (await partsOf(id)).every(({ completed_at }) => completed_at));
    await host.close();
  });

  it('has none of its tasks run again by itself, or emptied, while it goes on, and does again what was emptied then', async () => {
    const { id } = await client.submit('workflow', {
      steps: [say('first', 'first'), { id: 'ask', type: 'approval', needs: ['first'] }],
    });
    await asking(id);
    const part = (await stepsOf(id)).get('first')?.child_id;
    const retry = () => client.request('POST', `/api/v1/tasks/${part}/retry`);
    const empty = () => client.request('DELETE', `/api/v1/tasks/${part}`);
    for (const refused of [retry, empty]) expect(expectProblem(await refused(), 'parent_running').detail).toContain(id);
    for (const action of ['retry', 'delete']) {
      const bulk = { action, filter: { parent_id: id } };
      const asked = await client.request<PresentedTask>('POST', '/api/v1/tasks/bulk', bulk);
      expect((await client.waitForEnd(asked.body.id)).output).toMatchObject({ matched: 1, changed: 0, skipped: 1 });
    }
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    expect((await retry()).status).toBe(202);
    expect((await client.waitForEnd(part as string)).status).toBe('completed');
    expect((await empty()).status).toBe(204);
    await client.request('POST', `/api/v1/tasks/${id}/retry`);
    await asking(id);
    const again = (await stepsOf(id)).get('first')?.child_id;
    expect((await partsOf(id)).map((one) => [one.id, one.output])).toEqual([
      [part, null],
      [again, { message: 'first' }],
    ]);
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
  });

  it('that was cancelled has stopped its parts before any of them runs again', async () => {
    const { id } = await client.submit('workflow', {
      steps: [say('first', 'first'), { id: 'ask', type: 'approval', needs: ['first'] }],
    });
    await asking(id);
    const [part] = await partsOf(id);
    // As if whoever cancelled it had died before the workflow heard of it.
    const owner = { userId: part!.user_id };
    expect(await cancelTask(world.db, owner, id, 'gone')).toBeDefined();
    expect(await retryTask(world.db, owner, part!.id)).toBeUndefined();
    expect((await client.request('POST', `/api/v1/tasks/${part!.id}/retry`)).status).toBe(202);
    expect((await client.waitForEnd(part!.id)).status).toBe('completed');
    expect((await stepsOf(id)).get('ask')?.status).toBe('cancelled');
  });
});

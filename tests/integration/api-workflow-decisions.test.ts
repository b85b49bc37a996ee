import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WorkflowGraph } from '../../src/client/index.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { readText } from '../support/sources.ts';
import { until } from '../support/until.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

const echo = (id: string, more: object = {}) => ({ id, type: 'echo', input: { message: id }, ...more });
const ask = (more: object = {}) => ({ id: 'ask', type: 'approval', title: 'Go on?', ...more });

describe('a workflow that waits for a human', () => {
  let world: World;
  let owner: Client;
  beforeAll(async () => {
    world = await createWorld();
    owner = await world.client();
  });
  afterAll(() => world.close());

  const graphOf = async (id: string, client = owner) =>
    (await client.request<WorkflowGraph>('GET', `/api/v1/tasks/${id}/graph`)).body;

  /** Starts one, and waits until it waits. */
  async function start(...steps: object[]): Promise<string> {
    const { id } = await owner.submit('workflow', { steps });
    await until('the step waits', async () => (await graphOf(id)).counts.awaiting === 1);
    return id;
  }

  const decide = (client: Client, id: string, verb: string, body: object = { step: 'ask' }) =>
    client.request('POST', `/api/v1/tasks/${id}/${verb}`, body);

  it('goes on once its owner says yes, and shows where everything stands', async () => {
    const id = await start(
      echo('first'),
      echo('many', { needs: ['first'], for_each: ['a', 'b', 'c'], input: { message: '${{ item }}' } }),
      ask({ needs: ['many'], expires_in_seconds: 600 }),
      echo('last', { input: { message: '${{ steps.ask.output.by }}: ${{ steps.ask.output.comment }}' } }),
    );
    const graph = await graphOf(id);
    expect(graph).toMatchObject({ task_id: id, phase: 'forward', counts: { completed: 2, awaiting: 1, waiting: 1 } });
    expect(graph.nodes.map((node) => node.id)).toEqual(['first', 'many', 'ask', 'last']);
    expect(graph.nodes[1]?.items).toMatchObject({ total: 3, completed: 3, failed: 0, waiting: 0 });
    expect(graph.nodes[2]?.approval).toMatchObject({ approvers: null, decision: null, expires_at: expect.any(String) });
    expect(graph.edges).toContainEqual({ from: 'ask', to: 'last' });
    const first = await owner.request('GET', `/api/v1/tasks/${graph.nodes[0]?.task_id}`);
    expect(first.body).toMatchObject({ type: 'echo', parent_id: id, status: 'completed' });

    const answer = await decide(owner, id, 'approve', { step: 'ask', comment: 'fine' });
    expect(answer).toMatchObject({ status: 200, body: { step: 'ask', approved: true, by: owner.username } });
    const ended = await owner.waitForEnd(id);
    expect(ended).toMatchObject({ status: 'completed' });
    const after = await graphOf(id);
    expect(after).toMatchObject({ phase: 'ended', counts: { completed: 4 } });
    expect(after.nodes[2]?.approval?.decision).toMatchObject({ approved: true, by: owner.username, comment: 'fine' });
    const last = await owner.request('GET', `/api/v1/tasks/${after.nodes[3]?.task_id}`);
    expect(last.body.output).toEqual({ message: `${owner.username}: fine` });

    const { body } = await owner.request<{ data: object[] }>('GET', `/api/v1/tasks/${id}/timeline`);
    const told = { type: 'log', by: owner.username, fields: { step: 'ask', approved: true, comment: 'fine' } };
    expect(body.data).toContainEqual(expect.objectContaining(told));
    const audit = await world.db.selectFrom('audit_log').selectAll().where('object_id', '=', id).execute();
    expect(audit).toMatchObject([{ action: 'task.approve', actor_name: owner.username, outcome: 'ok' }]);
    expectProblem(await decide(owner, id, 'reject'), 'not_waiting');
  });

  it('fails where somebody says no, and the first word counts', async () => {
    const id = await start(ask(), echo('last', { needs: ['ask'] }));
    const answers = await Promise.all([decide(owner, id, 'reject'), decide(owner, id, 'reject')]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
    expect(await owner.waitForEnd(id)).toMatchObject({ status: 'failed', error: { code: 'step_failed' } });
    expect((await graphOf(id)).nodes[0]).toMatchObject({ status: 'failed', error: { code: 'rejected' } });
  });

  it('names those who decide, and then nobody else does', async () => {
    const [named, late, stranger, operator] = await Promise.all([
      world.client(),
      world.client(),
      world.client(),
      world.client('operator'),
    ]);
    const id = await start(ask({ approvers: [named.username.toUpperCase(), late.username] }));
    // As if somebody had taken a name that nobody had.
    await sql`update users set created_at = now() where id = ${late.userId}`.execute(world.db);
    expectProblem(await decide(late, id, 'approve'), 'not_found');
    expectProblem(await decide(stranger, id, 'approve'), 'not_found');
    expectProblem(await decide(owner, id, 'approve'), 'forbidden');
    expectProblem(await decide(operator, id, 'approve'), 'forbidden');
    expectProblem(await decide(named, id, 'approve', { step: 'nothing' }), 'not_found');
    expectProblem(await named.request('GET', `/api/v1/tasks/${id}`), 'not_found');
    expect((await decide(named, id, 'approve')).status).toBe(200);
    expect(await owner.waitForEnd(id)).toMatchObject({ status: 'completed' });
  });

  it('lets operators decide where it names nobody', async () => {
    const [stranger, operator] = await Promise.all([world.client(), world.client('operator')]);
    const id = await start(ask());
    expectProblem(await decide(stranger, id, 'approve'), 'not_found');
    expectProblem(await decide(operator, id, 'approve', { step: 'other' }), 'not_found');
    expect((await decide(operator, id, 'approve')).status).toBe(200);
  });

  it('is shown as it is planned before it begins, a page at a time', async () => {
    const steps = [echo('a'), echo('b', { when: 'steps.a.status == "completed"' }), ask({ needs: ['b'] })];
    const { id } = await owner.submit('workflow', { steps }, { delay_seconds: 600 });
    const graph = await graphOf(id);
    expect(graph).toMatchObject({ phase: 'waiting', counts: { waiting: 3 }, next_cursor: null });
    expect(graph.edges).toEqual([
      { from: 'a', to: 'b' },
      { from: 'b', to: 'ask' },
    ]);
    const page = await owner.request<WorkflowGraph>('GET', `/api/v1/tasks/${id}/graph?limit=2`);
    expect(page.body).toMatchObject({ next_cursor: '2', nodes: [{ id: 'a' }, { id: 'b' }] });
    const rest = await owner.request<WorkflowGraph>('GET', `/api/v1/tasks/${id}/graph?limit=2&cursor=2`);
    expect(rest.body).toMatchObject({ next_cursor: null, nodes: [{ id: 'ask' }] });
    const plain = await owner.submit('echo', { message: 'x' });
    expectProblem(await owner.request('GET', `/api/v1/tasks/${plain.id}/graph`), 'not_found');
  });

  it('runs as docs/workflows.md says, as pasted', async () => {
    const script = /```sh\n([\s\S]*?)```/.exec(readText('docs/workflows.md'))?.[1] ?? '';
    const env = { PATH: process.env.PATH, URL: world.url, TOKEN: owner.token };
    const { stdout } = await promisify(execFile)('bash', ['-c', script.replaceAll('curl ', 'curl -s ')], { env });
    expect(stdout.trim().split('\n').at(-1)).toContain('"output":{"output":{"sent":"Hello Ann, Hello Bob"}');
    expect(stdout).toContain('"approved":true');
  });

  it('is refused at the door where it is wrong', async () => {
    const submit = (input: object, client = owner) =>
      client.request('POST', '/api/v1/tasks', { type: 'workflow', input });
    const cycle = await submit({ steps: [echo('a', { needs: ['b'] }), echo('b', { needs: ['a'] })] });
    expect(pointersOf(expectProblem(cycle, 'validation_failed'))).toEqual(['#/input/steps/0/needs/0']);
    const typed = await submit({ steps: [echo('a', { input: { message: 7 } })] });
    expect(pointersOf(expectProblem(typed, 'validation_failed'))).toEqual(['#/input/steps/0/input/message']);
    const unknown = await submit({ workflow: 'nowhere' });
    expect(pointersOf(expectProblem(unknown, 'validation_failed'))).toEqual(['#/input/workflow']);
    const batch = {
      tasks: [
        { type: 'echo', input: { message: 'x' } },
        { type: 'workflow', input: { workflow: 'nowhere' } },
      ],
    };
    const inBatch = expectProblem(await owner.request('POST', '/api/v1/tasks/batch', batch), 'validation_failed');
    expect(pointersOf(inBatch)).toEqual(['#/tasks/1/input/workflow']);
    const limits = { name: 'narrow', task_types: ['workflow'] };
    const { key } = (await owner.request<{ key: string }>('POST', '/api/v1/api-keys', limits)).body;
    const narrow = await submit({ steps: [echo('a')] }, anonymousClient(world.url, key));
    expect(pointersOf(expectProblem(narrow, 'forbidden'))).toEqual(['#/input/steps/0/type']);
  });

  it('is stored, and runs by its name in the version of that time, and by a schedule', async () => {
    const put = (method: string, path: string, body: object) => owner.request(method, `/api/v1/workflows${path}`, body);
    await put('POST', '', { name: 'hello', steps: [echo('a', { input: { message: 'hello ${{ input.name }}' } })] });
    await put('POST', '', {
      name: 'outer',
      steps: [{ id: 'in', type: 'workflow', input: { workflow: 'hello', input: { name: '${{ input.who }}' } } }],
    });
    const waiting = await owner.submit(
      'workflow',
      { workflow: 'hello', input: { name: 'Ann' } },
      { delay_seconds: 600 },
    );
    expect(waiting.input).toEqual({ workflow: 'hello', version: 1, input: { name: 'Ann' } });
    const outer = await owner.runTask('workflow', { workflow: 'outer', input: { who: 'Bob' } });
    expect(outer).toMatchObject({ status: 'completed' });
    expect(JSON.stringify(outer.output)).toContain('hello Bob');

    const task = { type: 'workflow', input: { workflow: 'hello', input: { name: 'Eve' } } };
    const made = await owner.request<{ id: string }>('POST', '/api/v1/schedules', { every_seconds: 86_400, task });
    expect(made.status).toBe(201);
    await put('PATCH', '/hello', { steps: [echo('b', { input: { message: 'bye ${{ input.name }}' } })] });
    const run = await owner.request<{ id: string }>('POST', `/api/v1/schedules/${made.body.id}/run`);
    expect(JSON.stringify((await owner.waitForEnd(run.body.id)).output)).toContain('bye Eve');
    const wrong = { every_seconds: 60, task: { type: 'workflow', input: { workflow: 'nowhere' } } };
    const refused = expectProblem(await owner.request('POST', '/api/v1/schedules', wrong), 'validation_failed');
    expect(pointersOf(refused)).toEqual(['#/task/input/workflow']);
  });

  it('goes as deep as it may, whether its steps are stored or come along', async () => {
    const steps = (inner: string) => [{ id: 'in', type: 'workflow', input: { workflow: inner } }];
    const store = (name: string, own: object[]) => owner.request('POST', '/api/v1/workflows', { name, steps: own });
    expect((await store('d5', [echo('a')])).status).toBe(201);
    for (const n of [4, 3, 2, 1]) expect((await store(`d${n}`, steps(`d${n + 1}`))).status).toBe(201);
    const submit = (inner: string) =>
      owner.request<{ id: string }>('POST', '/api/v1/tasks', { type: 'workflow', input: { steps: steps(inner) } });
    for (const refused of [await store('d0', steps('d1')), await submit('d1')])
      expect(expectProblem(refused, 'validation_failed').errors?.[0]?.detail).toContain('deeper than 5');
    const { body } = await submit('d2');
    expect(await owner.waitForEnd(body.id)).toMatchObject({ status: 'completed' });
  });
});

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadDefinition } from '../../src/db/workflow-definitions.ts';
import { agentCalls } from '../support/agents.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

interface Stored {
  id: string;
  name: string;
  version: number;
  step_count: number;
  steps: object[];
  output: unknown;
  urls: { self: string };
}

const echo = (id: string, more: object = {}) => ({ id, type: 'echo', input: { message: id }, ...more });
const greeting = { name: 'greeting', steps: [echo('a'), echo('b', { needs: ['a'] })] };

describe('stored workflows', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { MAX_WORKFLOWS_PER_USER: '3' } });
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    client = await world.client();
  });

  const post = (body: object) => client.request<Stored>('POST', '/api/v1/workflows', body);
  const patch = (name: string, body: object) => client.request<Stored>('PATCH', `/api/v1/workflows/${name}`, body);
  const get = (path: string) => client.request<Stored & { data: Stored[] }>('GET', `/api/v1/workflows${path}`);

  it('keep every version as it was', async () => {
    const { status, body, headers } = await post({
      ...greeting,
      description: 'twice',
      output: '${{ steps.b.output }}',
    });
    expect(status).toBe(201);
    expect(headers.get('location')).toBe(body.urls.self);
    expect(body).toMatchObject({ version: 1, step_count: 2, description: 'twice', output: '${{ steps.b.output }}' });

    const changed = await patch('greeting', { steps: [echo('c')] });
    expect(changed.body).toMatchObject({ version: 2, step_count: 1, steps: [echo('c')], output: null });
    expect((await patch('greeting', { description: null })).body).toMatchObject({ version: 2, description: null });
    expect((await patch('greeting', { steps: [echo('c')] })).body.version).toBe(2);

    expect((await get('/greeting')).body.steps).toEqual([echo('c')]);
    expect((await get('/greeting/versions/1')).body).toMatchObject({
      version: 1,
      steps: greeting.steps,
      created_by: client.username,
    });
    expect((await get('/greeting/versions')).body.data.map(({ version }) => version)).toEqual([2, 1]);
    expectProblem(await get('/greeting/versions/3'), 'not_found');
    expectProblem(await get('/greeting/versions/x'), 'not_found');

    const last = await loadDefinition(world.db, client.userId, { workflow: 'greeting' });
    expect(last).toEqual({ id: expect.any(String), version: 2, definition: { steps: [echo('c')] } });
    const first = await loadDefinition(world.db, client.userId, { workflow: 'greeting', version: 1 });
    expect(first?.definition.output).toBe('${{ steps.b.output }}');
  });

  it('are listed newest first, without their steps, and go with all that they had', async () => {
    for (const name of ['one', 'two']) await post({ ...greeting, name });
    const { data } = (await get('')).body;
    expect(data.map(({ name }) => name)).toEqual(['two', 'one']);
    expect(data[0]).not.toHaveProperty('steps');
    const page = await client.request<{ data: Stored[]; next_cursor: string }>('GET', '/api/v1/workflows?limit=1');
    const rest = await get(`?cursor=${page.body.next_cursor}`);
    expect(rest.body.data.map(({ name }) => name)).toEqual(['one']);

    expect((await client.request('DELETE', '/api/v1/workflows/one')).status).toBe(204);
    expectProblem(await client.request('DELETE', '/api/v1/workflows/one'), 'not_found');
    expect(await loadDefinition(world.db, client.userId, { workflow: 'one' })).toBeUndefined();
  });

  it('have names of their own, and there are so many', async () => {
    for (const name of ['one', 'two', 'three']) expect((await post({ ...greeting, name })).status).toBe(201);
    expectProblem(await post({ ...greeting, name: 'two' }), 'already_exists');
    expectProblem(await post({ ...greeting, name: 'four' }), 'limit_reached');
    const other = await world.client();
    expect((await other.request('POST', '/api/v1/workflows', { ...greeting, name: 'one' })).status).toBe(201);
  });

  it('are refused where they are wrong, and say where', async () => {
    const wrong = expectProblem(await post({ ...greeting, steps: [echo('a', { needs: ['b'] })] }), 'validation_failed');
    expect(pointersOf(wrong)).toEqual(['#/steps/0/needs/0']);
    const unknown = expectProblem(await post({ ...greeting, steps: [echo('a', { nedes: [] })] }), 'validation_failed');
    expect(pointersOf(unknown)).toEqual(['#/steps/0/nedes']);
    await post(greeting);
    const worse = await patch('greeting', { steps: [echo('a', { when: 'x' })] });
    expect(pointersOf(expectProblem(worse, 'validation_failed'))).toEqual(['#/steps/0/when']);
    expectProblem(await patch('greeting', { output: 'x' }), 'validation_failed');
    expect((await get('/greeting')).body.version).toBe(1);
  });

  it('do not contain themselves, straight or by others', async () => {
    const of = (workflow: string, more: object = {}) => ({ id: 'w', type: 'workflow', input: { workflow, ...more } });
    const detailOf = (answer: Awaited<ReturnType<typeof post>>) => {
      const [error] = expectProblem(answer, 'validation_failed').errors ?? [];
      return `${error?.pointer} ${error?.detail}`;
    };
    const itself = '#/steps/0/input/workflow would run itself without end';
    expect(detailOf(await post({ name: 'inner', steps: [of('inner')] }))).toBe(itself);
    await post({ ...greeting, name: 'inner' });
    await post({ name: 'outer', steps: [of('inner')] });
    expect(detailOf(await patch('inner', { steps: [of('inner')] }))).toBe(itself);
    expect(detailOf(await patch('inner', { steps: [of('outer')] }))).toBe(
      '#/steps/0/input/workflow has the step w, which would run itself without end',
    );
    // A version never changes, so there is an end.
    expect((await patch('inner', { steps: [of('inner', { version: 1 })] })).body.version).toBe(2);
  });

  it('name agents who are there; whether there are approvers only those hear who may see all accounts', async () => {
    const ask = (agent: string, id = 'a') => ({ id, type: 'agent.run', input: { agent, input: 1 } });
    const { id } = await agentCalls.make(client, { name: 'helper' });
    const stranger = await world.client();
    await agentCalls.make(stranger, { name: 'theirs' });
    const steps = [
      ask('helper'),
      ask(id.toUpperCase(), 'b'),
      ask('${{ input.agent }}', 'c'),
      { id: 'd', type: 'approval', approvers: [stranger.username.toUpperCase(), 'nobody-has-this-name'] },
      echo('e', { compensate: { type: 'agent.run', input: { agent: 'theirs', input: 1 } } }),
      ask('missing', 'f'),
    ];
    const wrong = ['#/steps/4/compensate/input/agent', '#/steps/5/input/agent'];
    expect(pointersOf(expectProblem(await post({ name: 'named', steps }), 'validation_failed'))).toEqual(wrong);
    const submitted = await client.request('POST', '/api/v1/tasks', {
      type: 'workflow',
      input: { steps, input: { agent: 'helper' } },
    });
    const below = wrong.map((pointer) => pointer.replace('#', '#/input'));
    expect(pointersOf(expectProblem(submitted, 'validation_failed'))).toEqual(below);

    const asking = { type: 'workflow', input: { steps: [steps[3]] } };
    const answers = await Promise.all(
      [client, await world.client('operator')].map((one) => one.request('POST', '/api/v1/tasks', asking)),
    );
    expect(answers.map(({ status }) => status)).toEqual([202, 202]);
    const admin = await world.client('admin');
    const told = expectProblem(await admin.request('POST', '/api/v1/tasks', asking), 'validation_failed');
    expect(pointersOf(told)).toEqual(['#/input/steps/0/approvers/1']);
  });

  it('are refused with an input that lacks what their steps take straight from it', async () => {
    const steps = [
      echo('a', { for_each: 'input.list' }),
      echo('b', { input: { message: 'to ${{ input.who[0].name }}' } }),
      echo('c', { when: 'input.sure' }),
      // What may not come to it, or may fail, is no reason.
      echo('d', { when: 'steps.a.status == "failed"', input: { message: '${{ input.x }}' } }),
      echo('e', { for_each: '[]', input: { message: '${{ input.x }}' } }),
      echo('f', { on_failure: 'continue', input: { message: '${{ input.x }}' } }),
      echo('g', { input: { message: '${{ input.?x.orValue("") }}${{ has(input.x) }}' } }),
    ];
    const submit = (input: object) => client.request('POST', '/api/v1/tasks', { type: 'workflow', input });
    const good = { list: [], who: [{ name: 'Ann' }], sure: true };
    const bad = { list: {}, who: [{}], sure: null };
    const pointers = ['#/input/steps/0/for_each', '#/input/steps/1/input/message', '#/input/steps/2/when'];
    expect(pointersOf(expectProblem(await submit({ steps, input: bad }), 'validation_failed'))).toEqual(pointers);
    expect(pointersOf(expectProblem(await submit({ steps }), 'validation_failed'))).toEqual(pointers);
    expect((await submit({ steps, input: good })).status).toBe(202);

    await post({ name: 'wanting', steps });
    const { errors = [] } = expectProblem(await submit({ workflow: 'wanting', input: bad }), 'validation_failed');
    expect(errors.map(({ pointer, detail }) => `${pointer} ${detail}`)).toEqual([
      '#/input/input is not what the step a wants: its for_each must give a list, and input.list is none',
      '#/input/input is not what the step b wants: its input.message names input.who.0.name, which is not in the input of the workflow',
      '#/input/input is not what the step c wants: its when must give true or false, and input.sure is none',
    ]);
    expect((await submit({ workflow: 'wanting', input: good })).status).toBe(202);
    const whole = await submit({ steps: [echo('a', { for_each: 'input' })] });
    expect(expectProblem(whole, 'validation_failed').errors?.[0]?.detail).toBe(
      'must give a list, and there is no input',
    );
  });

  it('that were stored by a version that read something else are refused, and shown', async () => {
    const rewrite = async (name: string, steps: object[]) => {
      const { body } = await get(`/${name}`);
      await world.db
        .updateTable('workflow_versions')
        .set({ definition: JSON.stringify({ steps }) })
        .where('workflow_id', '=', body.id)
        .execute();
    };
    const submit = (workflow: string) =>
      client.request('POST', '/api/v1/tasks', { type: 'workflow', input: { workflow } });
    const refused = async () => (expectProblem(await submit('old'), 'validation_failed').errors ?? [])[0];
    const odd = [echo('a'), echo('b', { needs: ['a'], when: '1 +' })];
    await post({ name: 'shown', steps: [echo('a')] });
    const { body } = await submit('shown');
    await rewrite('shown', odd);
    const graph = await client.request('GET', `/api/v1/tasks/${body.id}/graph`);
    expect(graph.body).toMatchObject({ phase: 'waiting', edges: [{ from: 'a', to: 'b' }] });
    await post({ name: 'old', steps: [echo('a')] });
    await rewrite('old', odd);
    expect(await refused()).toMatchObject({ detail: expect.stringContaining('cannot be read any more') });
    await rewrite('old', [{ id: 'w', type: 'workflow', input: { workflow: 'shown', version: '${{ input.n }}' } }]);
    expect(await refused()).toEqual({
      pointer: '#/input/workflow',
      detail: 'has the step w, which names no workflow and version that are known before it runs',
    });
  });

  it('have no step that the API key of who stores them may not submit', async () => {
    const limits = { name: 'narrow', task_types: ['echo'], priority_ceiling: 5, scopes: ['workflows:write'] };
    const { key } = (await client.request<{ key: string }>('POST', '/api/v1/api-keys', limits)).body;
    const narrow = anonymousClient(world.url, key);
    const store = (step: object) =>
      narrow.request('POST', '/api/v1/workflows', { name: 'by-key', steps: [echo('a'), step] });
    const chat = { id: 'b', type: 'chat', input: { messages: [{ role: 'user', content: 'x' }] } };
    expect(pointersOf(expectProblem(await store(chat), 'forbidden'))).toEqual(['#/steps/1/type']);
    const urgent = expectProblem(await store(echo('b', { priority: 2 })), 'forbidden');
    expect(pointersOf(urgent)).toEqual(['#/steps/1/priority']);
    const undo = echo('b', { compensate: { type: 'chat', input: chat.input } });
    expect(pointersOf(expectProblem(await store(undo), 'forbidden'))).toEqual(['#/steps/1/compensate/type']);
    expect((await store(echo('b'))).status).toBe(201);
  });
});

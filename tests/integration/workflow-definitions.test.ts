import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadDefinition } from '../../src/db/workflow-definitions.ts';
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
    expect(last).toEqual({ version: 2, definition: { steps: [echo('c')] } });
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

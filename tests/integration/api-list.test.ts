import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

type Page = { data: PresentedTask[]; next_cursor: string | null };
const echo = (more = {}) => ({ type: 'echo', input: { message: 'x' }, ...more });

describe('listing tasks', () => {
  let world: World;
  let client: Client;
  let tasks: PresentedTask[];
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    client = await world.client();
    const bodies = Array.from({ length: 57 }, (_, index) =>
      echo({
        title: `Report ${index}`,
        tags: [`mod${index % 3}`, 'all'],
        ...(index % 10 === 0 ? { delay_seconds: 600 } : {}),
      }),
    );
    tasks = (await client.request<{ tasks: PresentedTask[] }>('POST', '/api/v1/tasks/batch', { tasks: bodies })).body
      .tasks;
    await client.submit('generate', { prompt: 'x' });
    await (await world.client()).submit('echo', { message: 'of somebody else' });
  });
  afterAll(() => world.close());

  const list = (query: string, by = client) => by.request<Page>('GET', `/api/v1/tasks?${query}`);

  it.each([1, 7, 19, 57, 58, 200])('shows every task once and the newest first in pages of %d', async (limit) => {
    const seen: string[] = [];
    for (let query = `limit=${limit}`, pages = 0; ; pages++) {
      const { status, body } = await list(query);
      expect(status).toBe(200);
      expect(body.data.length).toBeLessThanOrEqual(limit);
      seen.push(...body.data.map(({ id }) => id));
      if (!body.next_cursor) break;
      expect(body.data).toHaveLength(limit);
      expect(pages).toBeLessThan(100);
      query = `limit=${limit}&cursor=${body.next_cursor}`;
    }
    expect(seen).toHaveLength(58);
    expect(seen).toEqual([...new Set(seen)].sort().reverse());
  });

  it('keeps its place while new tasks come in', async () => {
    const author = await world.client();
    const first = await author.submit('echo', { message: '1' });
    await author.submit('echo', { message: '2' });
    const page = (await list('limit=1', author)).body;
    await author.submit('echo', { message: '3' });
    const next = (await list(`limit=1&cursor=${page.next_cursor}`, author)).body;
    expect(next.data.map(({ id }) => id)).toEqual([first.id]);
    expect(next.next_cursor).toBeNull();
  });

  it('shows 50 where no limit is given, as the same objects as the single reads, but for their places', async () => {
    const { body } = await list('');
    expect(body.data).toHaveLength(50);
    const [first] = body.data;
    expect((await client.request('GET', `/api/v1/tasks/${first?.id}`)).body).toEqual({ ...first, queue_position: 1 });
  });

  it.each([
    ['status=scheduled', 6],
    ['status=pending', 52],
    ['status=pending,scheduled', 58],
    ['status=completed', 0],
    ['type=generate', 1],
    ['type=nonsense', 0],
    ['type=generate,echo', 58],
    ['type=generate,generate,nonsense', 1],
    ['type=generate,echo&tag=mod1', 19],
    ['type=generate,echo&status=scheduled', 6],
    ['tag=mod1', 19],
    ['tag=all&status=scheduled', 6],
    ['tag=%27%3B%20drop%20table%20tasks', 0],
    ['created_after=2001-01-01T00:00:00Z', 58],
    ['created_before=2001-01-01T00:00:00Z', 0],
    ['batch_id=00000000-0000-4000-8000-000000000000', 0],
    ['parent_id=00000000-0000-4000-8000-000000000000', 0],
    ['schedule_id=00000000-0000-4000-8000-000000000000', 0],
    ['agent_id=00000000-0000-4000-8000-000000000000', 0],
    ['model=tinyllama', 0],
    ['status=failed&error_code=poison', 0],
    ['q=rep', 57],
    ['q=REPORT%205', 8],
    ['q=report%2056', 1],
    ['q=rep%2056', 0],
    ['q=mod1', 19],
    ['q=mod1%20all%20report&status=scheduled', 2],
  ])('filters by %s', async (query, count) => {
    expect((await list(`limit=200&${query}`)).body.data).toHaveLength(count);
  });

  it('filters by batch', async () => {
    const { body } = await list(`limit=200&batch_id=${tasks[0]?.batch_id}`);
    expect(body.data.map(({ id }) => id).sort()).toEqual(tasks.map(({ id }) => id).sort());
  });

  it.each([
    ['limit=0', 'limit'],
    ['limit=201', 'limit'],
    ['limit=-1', 'limit'],
    ['limit=ten', 'limit'],
    ['limit=1e2', 'limit'],
    ['cursor=nonsense', 'cursor'],
    ['cursor=%00', 'cursor'],
    ['status=done', 'status/0'],
    ['status=', 'status/0'],
    ['tag=%00', 'tag'],
    ['type=%00', 'type'],
    ['created_after=yesterday', 'created_after'],
    ['created_before=2030-02-31T00:00:00Z', 'created_before'],
    ['batch_id=1', 'batch_id'],
    ['parent_id=1', 'parent_id'],
    ['agent_id=mine', 'agent_id'],
    ['schedule_id=', 'schedule_id'],
    ['model=%00', 'model'],
    ['model=..%2F', 'model'],
    ['error_code=Poison!', 'error_code'],
    ['q=', 'q'],
    ['q=%23%20-', 'q'],
    ['q=1%202%203%204%205%206%207%208%209%2010%2011', 'q'],
    [`q=${'x'.repeat(201)}`, 'q'],
    ['user_id=1', 'user_id'],
    ['offset=10', 'offset'],
    ['status=failed&status=cancelled', 'status'],
    ['limit=1&limit=abc', 'limit'],
    ['__proto__=1', '__proto__'],
  ])('refuses %s', async (query, name) => {
    expect(pointersOf(expectProblem(await list(query), 'validation_failed'))).toEqual([`#/${name}`]);
  });

  it('shows an operator and an admin the tasks of all, and a viewer only their own', async () => {
    for (const role of ['operator', 'admin'] as const) {
      const { body } = await list('limit=200', await world.client(role));
      expect(new Set(body.data.map(({ user_id }) => user_id)).size).toBeGreaterThan(1);
    }
    expect((await list('', await world.client('viewer'))).body).toEqual({ data: [], next_cursor: null });
  });
});

describe('the tasks of somebody else', () => {
  let world: World;
  let owner: Client;
  let other: Client;
  let task: PresentedTask;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    [owner, other] = await Promise.all([world.client(), world.client()]);
    task = await owner.submit('echo', { message: 'secret' }, { delay_seconds: 600 });
  });
  afterAll(() => world.close());

  const routes: Array<[string, string]> = [
    ['GET', ''],
    ['GET', '/attempts'],
    ['POST', '/cancel'],
    ['POST', '/retry'],
  ];
  const unknown = ['01980000-0000-7000-8000-000000000000', 'nonsense', '%00', "'; drop table tasks; --", '1'];

  it.each(routes)('look to %s /tasks/:id%s exactly like those that do not exist', async (method, rest) => {
    const ask = async (id: string) => {
      const { status, headers, body } = await other.request(method, `/api/v1/tasks/${encodeURI(id)}${rest}`);
      const { instance: _instance, request_id: _id, ...same } = expectProblem({ status, headers, body }, 'not_found');
      const names = [...headers.keys()].sort();
      return { status, same, names };
    };
    const foreign = await ask(task.id);
    for (const id of unknown) expect(await ask(id)).toEqual(foreign);
    expect((await owner.request('GET', `/api/v1/tasks/${task.id}`)).body).toEqual(task);
  });

  it.each(['operator', 'admin'] as const)('can be read by an %s', async (role) => {
    const reader = await world.client(role);
    const seen = role === 'admin' ? task : { ...task, input: null, output: null, metadata: null };
    expect((await reader.request('GET', `/api/v1/tasks/${task.id}`)).body).toEqual(seen);
    expect((await reader.request('GET', `/api/v1/tasks/${task.id}/attempts`)).status).toBe(200);
  });

  it('are not in the lists of others, whatever the filter', async () => {
    for (const query of [
      '',
      'status=scheduled',
      'type=echo',
      'created_after=2001-01-01T00:00:00Z',
      `cursor=ffffffff-ffff-7fff-bfff-ffffffffffff`,
    ])
      expect((await other.request<Page>('GET', `/api/v1/tasks?${query}`)).body.data).toEqual([]);
  });
});

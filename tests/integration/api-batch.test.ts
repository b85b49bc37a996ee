import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

type Batch = { batch_id: string; tasks: Array<PresentedTask & { webhook_secret?: string }> };
type Page = { data: PresentedTask[]; next_cursor: string | null };
const echo = (message: unknown, more = {}) => ({ type: 'echo', input: { message }, ...more });

describe.each(BACKENDS)('a batch on %s', (backend) => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ backend });
    client = await world.client();
  });
  afterAll(() => world.close());

  it('takes 1,000 tasks in one answer, in the order given, and runs each once', async () => {
    const tasks = Array.from({ length: 1000 }, (_, index) => echo(`m${index}`, { tags: [`t${index % 7}`] }));
    const { status, headers, body } = await client.request<Batch>('POST', '/api/v1/tasks/batch', { tasks });
    expect(status).toBe(202);
    expect(headers.get('location')).toBe(`${world.url}/api/v1/tasks?batch_id=${body.batch_id}`);
    expect(body.tasks.map(({ input }) => (input as { message: string }).message)).toEqual(
      tasks.map(({ input }) => input.message),
    );
    expect(new Set(body.tasks.map(({ id }) => id)).size).toBe(1000);
    expect(body.tasks.every(({ batch_id }) => batch_id === body.batch_id)).toBe(true);
    const rows = () =>
      world.db.selectFrom('tasks').select(['status', 'attempt']).where('batch_id', '=', body.batch_id).execute();
    await until('all are completed', async () => (await rows()).every(({ status }) => status === 'completed'));
    expect(new Set((await rows()).map(({ attempt }) => attempt))).toEqual(new Set([1]));
    const attempts = await world.db.selectFrom('attempts').select('task_id').execute();
    expect(attempts).toHaveLength(1000);
  });
});

describe('a batch', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    client = await world.client();
  });
  afterAll(() => world.close());

  const post = (body: unknown) => client.request<Batch>('POST', '/api/v1/tasks/batch', body);
  const stored = async () => (await world.db.selectFrom('tasks').select('id').execute()).length;

  it('can be listed by its id, and gives each task its own secret', async () => {
    const webhook = { url: 'https://example.com/' };
    const { body } = await post({ tasks: [echo('a', { webhook }), echo('b'), echo('c', { webhook })] });
    const [first, second, third] = body.tasks.map(({ webhook_secret }) => webhook_secret);
    expect(first).toMatch(/^whsec_/);
    expect(second).toBeUndefined();
    expect(third).not.toBe(first);
    const { body: page } = await client.request<Page>('GET', `/api/v1/tasks?batch_id=${body.batch_id}`);
    expect(page.data.map(({ id }) => id).sort()).toEqual(body.tasks.map(({ id }) => id).sort());
  });

  it.each([
    ['an input', 3, { input: { message: 5 } }, '#/tasks/3/input/message'],
    ['an unknown type', 0, { type: 'nope' }, '#/tasks/0/type'],
    ['an unknown field', 1, { role: 'admin' }, '#/tasks/1/role'],
    ['a private webhook', 2, { webhook: { url: 'http://10.0.0.1' } }, '#/tasks/2/webhook/url'],
    ['a priority', 4, { priority: 99 }, '#/tasks/4/priority'],
  ])('stores nothing when %s is wrong, and points at the task', async (_, at, wrong, pointer) => {
    const before = await stored();
    const tasks = Array.from({ length: 5 }, (_one, index) => echo('ok', index === at ? wrong : {}));
    expect(pointersOf(expectProblem(await post({ tasks }), 'validation_failed'))).toEqual([pointer]);
    expect(await stored()).toBe(before);
  });

  it.each([
    ['no task', { tasks: [] }, '#/tasks'],
    ['1,001 tasks', { tasks: Array(1001).fill(echo('x')) }, '#/tasks'],
    ['no list', { tasks: echo('x') }, '#/tasks'],
    ['nothing', {}, '#/tasks'],
    ['a further field', { tasks: [echo('x')], batch_id: 'mine' }, '#/batch_id'],
  ])('refuses %s', async (_, body, pointer) => {
    expect(pointersOf(expectProblem(await post(body), 'validation_failed'))).toEqual([pointer]);
  });

  it('names the first 20 errors where there are a thousand', async () => {
    const { errors } = expectProblem(await post({ tasks: Array(1000).fill(echo(5)) }), 'validation_failed');
    expect(errors).toHaveLength(20);
  });
});

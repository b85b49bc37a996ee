import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventRoutes } from '../../src/api/routes/task-events.ts';
import { newId } from '../../src/db/ids.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

type Page = { data: Array<{ attempt: number }>; next_cursor: string | null };

let world: World;
let client: Client;
beforeAll(async () => {
  world = await createWorld({ mode: 'api' });
  client = await world.client();
});
afterAll(() => world.close());

describe('the attempts of a task', () => {
  let id: string;
  beforeAll(async () => {
    ({ id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 }));
    const rows = Array.from({ length: 57 }, (_, index) => index + 1);
    await world.db
      .insertInto('attempts')
      .values(rows.map((attempt) => ({ task_id: id, attempt, outcome: 'retry', ended_at: new Date() })))
      .execute();
  });

  const list = (query: string) => client.request<Page>('GET', `/api/v1/tasks/${id}/attempts${query}`);
  const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

  it('come 50 at a time where no limit is given, and go on behind the cursor', async () => {
    const first = (await list('')).body;
    expect([first.data.map(({ attempt }) => attempt), first.next_cursor]).toEqual([numbers(1, 50), '50']);
    const rest = (await list(`?cursor=${first.next_cursor}`)).body;
    expect([rest.data.map(({ attempt }) => attempt), rest.next_cursor]).toEqual([numbers(51, 57), null]);
  });

  it.each([1, 19, 56, 57, 200])('each come once and in order in pages of %d', async (limit) => {
    const seen: number[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const { body }: { body: Page } = await list(`?limit=${limit}${cursor && `&cursor=${cursor}`}`);
      expect(body.data.length).toBeLessThanOrEqual(limit);
      seen.push(...body.data.map(({ attempt }) => attempt));
      cursor = body.next_cursor;
    }
    expect(seen).toEqual(numbers(1, 57));
  });

  it.each([
    ['?cursor=0', 'cursor'],
    ['?cursor=x', 'cursor'],
    ['?cursor=9999999999', 'cursor'],
    ['?limit=201', 'limit'],
    ['?limit=1&foo=2', 'foo'],
  ])('cannot be asked for with %s', async (query, name) => {
    expect(pointersOf(expectProblem(await list(query), 'validation_failed'))).toEqual([`#/${name}`]);
  });
});

describe('readers who come again after the end', () => {
  it('are told so together: many of them cost few statements', async () => {
    const { id } = await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    const { body } = await client.request<{ data: Array<{ id: string }> }>('GET', `/api/v1/tasks/${id}/timeline`);
    let statements = 0;
    const db = world.db.withPlugin({
      transformQuery: ({ node }) => {
        statements++;
        return node;
      },
      transformResult: async ({ result }) => result,
    });
    const unwanted = () => {
      throw new Error('nobody follows here');
    };
    const routes = eventRoutes({
      db,
      follow: unwanted,
    });
    const route = routes.find(({ path }) => path.endsWith('/events'));
    const principal = { userId: newId(), username: 'x', role: 'operator', sessionId: newId(), can: () => true };
    const ask = () =>
      route?.handle({
        params: { id },
        query: {},
        principal,
        header: (name: string) => (name === 'last-event-id' ? body.data.at(-1)?.id : undefined),
      } as never);
    const answers = await Promise.all(Array.from({ length: 80 }, ask));
    expect(answers).toEqual(answers.map(() => ({ status: 204 })));
    expect(statements).toBeLessThan(10);
  });
});

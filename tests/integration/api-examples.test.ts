import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeRoutes } from '../../scripts/openapi.ts';
import { type Route, routeKey } from '../../src/api/route.ts';
import { hasEnded } from '../../src/db/schema.ts';
import { addAgent } from '../support/add-agent.ts';
import { makeObject } from '../support/route-objects.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

const { routes, registry } = makeRoutes();
const WITH_EXAMPLE = routes.filter(({ example }) => example !== undefined);

/** Examples that nobody can send as they stand, with the answer that they get. */
const UNUSABLE: Record<string, number> = {
  // The token of the example is none.
  'POST /api/v1/auth/refresh': 401,
  // The file of the example is nobody's.
  'POST /v1/batches': 400,
};

// What the answers look like is held against the reference by the setup of every test.
describe('the examples of the reference', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld();
  });
  afterAll(() => world.close());

  /** Whoever may send the example: the account of the examples for its own password, else an administrator of the test's own. */
  async function askerOf(route: Route): Promise<Client> {
    if (routeKey(route) !== 'POST /api/v1/auth/password') return world.client('admin');
    const login = routes.find((one) => routeKey(one) === 'POST /api/v1/auth/login')?.example;
    const { body } = await world.anonymous.request<{ access_token: string }>('POST', '/api/v1/auth/login', login);
    return anonymousClient(world.url, body.access_token);
  }

  it.each(WITH_EXAMPLE.map((route) => [routeKey(route), route] as const))(
    '%s takes its example',
    async (key, route) => {
      const asker = await askerOf(route);
      const object = await makeObject(world, asker, key);
      const { status, body } = await asker.request(
        route.method,
        route.path.replace(/:.*:\w+|:\w+/, object?.id ?? ''),
        route.example,
      );
      expect(status, JSON.stringify(body)).toBe(UNUSABLE[key] ?? Math.min(...described(route, status)));
    },
  );

  it.each(
    routes.flatMap((route) =>
      Object.entries(route.fileExamples ?? {}).map(
        ([type, example]) => [routeKey(route), type, { route, example }] as const,
      ),
    ),
  )('%s takes its example of %s', async (key, type, { route, example }) => {
    const asker = await world.client('admin');
    const object = await makeObject(world, asker, key);
    const { status, body } = await asker.request(
      route.method,
      route.path.replace(/:\w+/, object?.id ?? ''),
      typeof example === 'string' ? example : formOf(example),
      typeof example === 'string' ? { 'content-type': type } : {},
    );
    expect(status, JSON.stringify(body)).toBe(Math.min(...described(route, status)));
    const isTask = typeof body.urls === 'object' && body.urls !== null;
    if (isTask) expect(await asker.waitForEnd(body.id as string)).toMatchObject({ status: 'completed' });
  });

  function formOf({ file = '', ...fields }: Record<string, string>): FormData {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append('file', new File([file], 'example.txt', { type: 'text/plain' }));
    return form;
  }

  /** The good answers of a route that an answer may be. */
  function described({ answers = {} }: Route, status: number): number[] {
    const good = Object.keys(answers).map(Number);
    return good.includes(status) ? [status] : good;
  }

  it.each(
    registry.list().flatMap(({ name, examples }) => examples.map((input, index) => [name, index, input] as const)),
  )('a task of the type %s runs with its example %i, and its answer is as described', async (type, _, input) => {
    const client = await world.client();
    // What works on a collection finds one.
    if ((input as { collection?: string }).collection !== undefined && type !== 'vector.upsert') {
      const [points] = registry.find('vector.upsert')?.examples ?? [];
      expect((await client.runTask('vector.upsert', points)).status).toBe('completed');
    }
    const { agent } = input as { agent?: string };
    if (agent !== undefined)
      await addAgent(world, {
        ...{ name: agent, userId: client.userId, endpoint: world.url },
        config: { request: { method: 'GET', path: '/healthz' } },
      });
    // That of a call to the outside is taken, but tests call nobody there.
    const outside = registry.find(type)?.urls?.some((field) => (input as Record<string, unknown>)[field] !== undefined);
    const { id, status } = await client.submit(type, input, outside ? { delay_seconds: 600 } : {});
    if (outside) return expect(status).toBe('scheduled');
    const ended = await client.waitForEnd(id);
    expect([ended.status, hasEnded(ended.status)], JSON.stringify(ended.error)).toEqual(['completed', true]);
  });
});

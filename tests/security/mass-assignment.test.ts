import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { POLICIES } from '../../src/api/policy.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { makeBody, makeObject, ROUTES_WITH_BODY, ROUTES_WITH_FORM, rowOf } from '../support/route-objects.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

/** What somebody might hope to set besides, in both spellings. */
const HOPED_FOR = {
  role: 'admin',
  roles: ['admin'],
  userId: '01980000-0000-7000-8000-000000000000',
  user_id: '01980000-0000-7000-8000-000000000000',
  tenantId: 'other',
  tenant_id: 'other',
  status: 'completed',
  priority: 1,
  attempts: 99,
  attempt: 99,
  callbackUrl: 'http://169.254.169.254/',
  callback_url: 'http://169.254.169.254/',
  is_active: true,
  isAdmin: true,
  id: '01980000-0000-7000-8000-000000000000',
  created_at: '2000-01-01T00:00:00Z',
};
type Field = keyof typeof HOPED_FOR;
/** Fields that a route takes on purpose. */
const TAKEN: Record<string, Field[]> = {
  'POST /api/v1/tasks': ['priority'],
  'POST /api/v1/tasks/batch': [],
  'PATCH /api/v1/users/:id': ['role', 'is_active'],
  'POST /api/v1/invitations': ['role'],
  'POST /api/v1/agents': ['is_active'],
  'PATCH /api/v1/agents/:id': ['is_active'],
};
const FIELDS = Object.keys(HOPED_FOR) as Field[];
const CHANGING = Object.keys(POLICIES).filter((route) => !route.startsWith('GET '));

describe('S25: a field that nobody may set is refused', () => {
  let world: World;
  let admin: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    admin = await world.client('admin');
  });
  afterAll(() => world.close());

  async function send(client: Client, route: string, id: string | undefined, body: unknown) {
    const [method = '', path = ''] = route.split(' ');
    return client.request(method, path.replace(/:.*:\w+|:\w+/, id ?? ''), body);
  }

  // What is sent to a signed address is kept as it is, and is a field of nothing.
  const closed = ROUTES_WITH_BODY.filter((route) => POLICIES[route] !== 'signed');
  it.each(closed)('by %s, beside a good body', async (route) => {
    const object = await makeObject(world, admin, route);
    const before = await rowOf(world, object);
    const good = (await makeBody(world, admin, route)) as object;
    for (const field of FIELDS.filter((name) => !TAKEN[route]?.includes(name))) {
      const answer = await send(admin, route, object?.id, { ...good, [field]: HOPED_FOR[field] });
      const pointers = pointersOf(expectProblem(answer, 'validation_failed'));
      // A body of two shapes names what is wrong with it as a whole.
      expect(pointers, field).toEqual([route.endsWith('/login') ? '#' : `#/${field}`]);
    }
    expect(await rowOf(world, object)).toEqual(before);
  });

  it.each(ROUTES_WITH_FORM)('by %s, beside a good form', async (route) => {
    for (const field of FIELDS) {
      const form = (await makeBody(world, admin, route)) as FormData;
      form.append(field, String(HOPED_FOR[field]));
      expect(pointersOf(expectProblem(await send(admin, route, undefined, form), 'validation_failed'))).toEqual([
        `#/${field}`,
      ]);
    }
  });

  it.each(CHANGING.filter((route) => ![...ROUTES_WITH_BODY, ...ROUTES_WITH_FORM].includes(route)))(
    'by %s, which takes no body',
    async (route) => {
      const client = await world.client('admin');
      const object = await makeObject(world, client, route);
      const before = await rowOf(world, object);
      for (const field of FIELDS) {
        const answer = await send(client, route, object?.id, { [field]: HOPED_FOR[field] });
        expect(pointersOf(expectProblem(answer, 'validation_failed')), field).toEqual(['#']);
      }
      expect(await rowOf(world, object)).toEqual(before);
    },
  );

  it.each([
    ['a task of a batch', 'POST /api/v1/tasks/batch', '/tasks/0'],
    ['the webhook of a task', 'POST /api/v1/tasks', '/webhook'],
    ['the input of a task', 'POST /api/v1/tasks', '/input'],
  ])('inside %s', async (_, route, place) => {
    for (const field of FIELDS.filter((name) => name !== 'priority' && name !== 'status')) {
      const body = (await makeBody(world, admin, route)) as Record<string, unknown>;
      const extra = { [field]: HOPED_FOR[field] };
      const task = { type: 'echo', input: { message: 'x' } };
      if (place === '/tasks/0') body.tasks = [{ ...task, ...extra }];
      if (place === '/webhook') body.webhook = { url: 'http://127.0.0.1:1/', ...extra };
      if (place === '/input') body.input = { message: 'x', ...extra };
      const problem = expectProblem(await send(admin, route, undefined, body), 'validation_failed');
      expect(pointersOf(problem), field).toEqual([`#${place}/${field}`]);
    }
  });
});

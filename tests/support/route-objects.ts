import { sql } from 'kysely';
import { ADMIN_PASSWORD, type Client, type World } from './world.ts';

/** Something that a route can name: its id in the path, and the row behind it. */
export interface RouteObject {
  id: string;
  table: 'tasks' | 'user_sessions' | 'api_keys' | 'users' | 'invitations' | 'paused_lanes' | undefined;
}

type Make = (world: World, owner: Client, route: string) => Promise<RouteObject>;

/** Routes that want a task that has ended. */
const WANT_ENDED = ['POST /api/v1/tasks/:id/retry', 'DELETE /api/v1/tasks/:id'];

/** What stands behind the parameter of a path, by what comes before it. A new kind of object gets its line here. */
const OBJECTS: Record<string, Make> = {
  '/api/v1/tasks/': async (_, owner, route) => {
    const { id } = await owner.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    if (WANT_ENDED.includes(route)) await owner.request('POST', `/api/v1/tasks/${id}/cancel`);
    return { id, table: 'tasks' };
  },
  '/api/v1/auth/sessions/': async (world, { userId, username }) => {
    await world.anonymous.request('POST', '/api/v1/auth/login', { username, password: ADMIN_PASSWORD });
    const sessions = world.db.selectFrom('user_sessions').select('id').where('user_id', '=', userId);
    const { id } = await sessions.orderBy('id', 'desc').limit(1).executeTakeFirstOrThrow();
    return { id, table: 'user_sessions' };
  },
  '/api/v1/api-keys/': async (_, owner) => {
    const { body } = await owner.request<{ id: string }>('POST', '/api/v1/api-keys', { name: 'of the owner' });
    return { id: body.id, table: 'api_keys' };
  },
  '/api/v1/users/': async (world) => ({ id: (await world.client()).userId, table: 'users' }),
  '/api/v1/invitations/': async (world) => {
    const admin = await world.client('admin');
    return {
      id: (await admin.request<{ id: string }>('POST', '/api/v1/invitations', {})).body.id,
      table: 'invitations',
    };
  },
  '/api/v1/monitoring/queues/': async () => ({ id: 'agent', table: undefined }),
  '/docs/problems/': async () => ({ id: 'not_found', table: undefined }),
};

/** Makes what a route names, as something of the owner's; `undefined` for a route that names nothing. */
export async function makeObject(world: World, owner: Client, route: string): Promise<RouteObject | undefined> {
  const path = route.split(' ')[1] ?? '';
  if (!path.includes(':')) return undefined;
  const kind = path.slice(0, path.indexOf(':'));
  const make = OBJECTS[kind];
  if (!make) throw new Error(`nothing is known of what ${path} names: add ${kind} to tests/support/route-objects.ts`);
  return make(world, owner, route);
}

/** The row behind an object as it is now. */
export async function rowOf(world: World, object: RouteObject | undefined): Promise<unknown> {
  if (!object?.table) return undefined;
  const { rows } = await sql`select * from ${sql.table(object.table)} where id = ${object.id}`.execute(world.db);
  return rows;
}

let count = 0;

/** Bodies that are taken, by route. A route that takes a body gets its line here. */
const BODIES: Record<string, (world: World, asker: Client) => Promise<unknown> | unknown> = {
  'POST /api/v1/auth/register': () => ({
    username: `fresh${++count}`,
    email: `fresh${count}@example.com`,
    password: ADMIN_PASSWORD,
  }),
  'POST /api/v1/auth/login': async (world) => ({
    username: (await world.client()).username,
    password: ADMIN_PASSWORD,
  }),
  'POST /api/v1/auth/refresh': async (world) => {
    const { username } = await world.client();
    const login = { username, password: ADMIN_PASSWORD };
    const { body } = await world.anonymous.request('POST', '/api/v1/auth/login', login);
    return { refresh_token: body.refresh_token };
  },
  'POST /api/v1/auth/password': () => ({ current_password: ADMIN_PASSWORD, new_password: 'another long password' }),
  'PATCH /api/v1/users/:id': () => ({ role: 'viewer' }),
  'POST /api/v1/invitations': () => ({}),
  'POST /api/v1/api-keys': () => ({ name: 'a key' }),
  'POST /api/v1/tasks': () => ({ type: 'echo', input: { message: 'x' }, delay_seconds: 600 }),
  'POST /api/v1/tasks/batch': () => ({ tasks: [{ type: 'echo', input: { message: 'x' }, delay_seconds: 600 }] }),
};

/** A body that the route takes; `undefined` where it takes none. */
export async function makeBody(world: World, asker: Client, route: string): Promise<unknown> {
  return BODIES[route]?.(world, asker);
}

/** The routes that take a body. */
export const ROUTES_WITH_BODY = Object.keys(BODIES);

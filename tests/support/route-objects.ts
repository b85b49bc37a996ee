import { sql } from 'kysely';
import { newId } from '../../src/db/ids.ts';
import { HOOK, makeAgent, makeCollection, makeWorkflow, SCHEDULE, uploadFile } from './route-bodies.ts';
import { ADMIN_PASSWORD, type Client, callbacksOf, type World } from './world.ts';

export { makeBody, ROUTES_WITH_BODY, ROUTES_WITH_FORM } from './route-bodies.ts';

/** Something that a route can name: its id in the path, and the row behind it. */
export interface RouteObject {
  id: string;
  table:
    | 'tasks'
    | 'user_sessions'
    | 'api_keys'
    | 'users'
    | 'invitations'
    | 'paused_lanes'
    | 'schedules'
    | 'webhook_endpoints'
    | 'deliveries'
    | 'files'
    | 'batches'
    | 'collections'
    | 'workflow_definitions'
    | 'documents'
    | 'agents'
    | undefined;
  /** The id of the row, where that of the path is another. */
  row?: string;
}

type Make = (world: World, owner: Client, route: string) => Promise<RouteObject>;

/** Routes that want a task that has ended; that of its events then ends too. */
const WANT_ENDED = ['POST /api/v1/tasks/:id/retry', 'DELETE /api/v1/tasks/:id', 'GET /api/v1/tasks/:id/events'];

let count = 0;

/** What stands behind the parameter of a path, or from the first to the last of them, by what comes before it. A new kind of object gets its line here. */
const OBJECTS: Record<string, Make> = {
  '/api/v1/tasks/': async (world, owner, route) => {
    if (OF_WORKFLOWS.test(route)) return makeRun(world, owner);
    const { id } = await owner.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    if (WANT_ENDED.includes(route)) await owner.request('POST', `/api/v1/tasks/${id}/cancel`);
    return { id, table: 'tasks' };
  },
  '/api/v1/callbacks/': async (world, owner) => {
    const { id } = await owner.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    return { id: callbacksOf(world).tokenOf({ taskId: id, life: 0, name: 'x' }), row: id, table: 'tasks' };
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
  '/api/v1/schedules/': async (_, owner) => {
    const { body } = await owner.request<{ id: string }>('POST', '/api/v1/schedules', SCHEDULE);
    return { id: body.id, table: 'schedules' };
  },
  '/api/v1/collections/': async (world, owner, route) => {
    if (route.includes('/documents')) return makeDocument(world, owner, route);
    // One that is asked by a text has a model.
    const given = { ...makeCollection(), ...(route.endsWith('/search') ? { embedding_model: undefined } : {}) };
    const { body } = await owner.request<{ id: string; name: string }>('POST', '/api/v1/collections', given);
    return { id: body.name, row: body.id, table: 'collections' };
  },
  '/api/v1/workflows/': async (_, owner, route) => {
    const { body } = await owner.request<{ id: string; name: string }>('POST', '/api/v1/workflows', makeWorkflow());
    const id = route.endsWith('/:version') ? `${body.name}/versions/1` : body.name;
    return { id, row: body.id, table: 'workflow_definitions' };
  },
  '/api/v1/webhooks/': async (_, owner) => ({ id: await makeWebhook(owner), table: 'webhook_endpoints' }),
  '/api/v1/agents/': async (_, owner) => {
    const { body } = await owner.request<{ id: string }>('POST', '/api/v1/agents', makeAgent());
    return { id: body.id, table: 'agents' };
  },
  '/api/v1/deliveries/': async (_, owner) => {
    const path = `/api/v1/webhooks/${await makeWebhook(owner)}/test`;
    return { id: (await owner.request<{ id: string }>('POST', path)).body.id, table: 'deliveries' };
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
  '/api/v1/models/': async ({ ollama }) => {
    const id = `model-${++count}:latest`;
    ollama.models.push({ name: id, capabilities: ['completion'] });
    return { id, table: undefined };
  },
  '/v1/models/': async () => ({ id: 'tinyllama', table: undefined }),
  '/v1/batches/': async ({ db }, { userId }) => {
    const id = newId();
    const later = new Date(Date.now() + 86_400_000);
    const asked = { endpoint: '/v1/embeddings', completion_window: '24h', status: 'validating' as const };
    const row = { id, user_id: userId, ...asked, input_file_id: newId(), expires_at: later, step_at: later };
    // Nobody goes on with it, so that its row stays as it is.
    await db.insertInto('batches').values(row).execute();
    return namedRow('batches', `batch_${id}`);
  },
  '/v1/responses/': async (_, owner) => {
    const body = { model: 'tinyllama', input: 'x', background: true };
    const { id } = (await owner.request<{ id: string }>('POST', '/v1/responses', body)).body;
    await owner.request('POST', `/v1/responses/${id}/cancel`);
    // Where workers are, it may have been at work.
    await owner.waitForEnd(id.slice('resp_'.length));
    return namedRow('tasks', id);
  },
  '/v1/files/': async (_, owner) => namedRow('files', (await uploadFile(owner)).id),
  '/docs/problems/': async () => ({ id: 'not_found', table: undefined }),
};

async function makeWebhook(owner: Client): Promise<string> {
  return (await owner.request<{ id: string }>('POST', '/api/v1/webhooks', HOOK)).body.id;
}

const OF_WORKFLOWS = /\/(?:graph|approve|reject)$/;

/** A workflow that waits for a human; that it waits stands in its rows, so that no worker is needed for it. */
async function makeRun({ db }: World, owner: Client): Promise<RouteObject> {
  const steps = [{ id: 'ask', type: 'approval' }];
  const { id } = await owner.submit('workflow', { steps }, { delay_seconds: 600 });
  await db.updateTable('tasks').set({ status: 'pending' }).where('id', '=', id).execute();
  const run = { workflow_id: id, depth: 1, steps: 1, open: 1, busy: 0, undo: false };
  await db.insertInto('workflow_runs').values(run).execute();
  const step = { workflow_id: id, step: 'ask', item: -1, place: 0, status: 'awaiting' as const, needs_left: 0 };
  await db
    .insertInto('workflow_steps')
    .values({ ...step, definition: JSON.stringify(steps[0]) })
    .execute();
  return { id, table: 'tasks' };
}

/** A document in a collection that takes documents; for a route that names both, an id that stands for both. */
async function makeDocument({ db }: World, { userId }: Client, route: string): Promise<RouteObject> {
  const [collection, document] = [newId(), newId()];
  const name = `documents-${process.pid}-${++count}`;
  const model = { embedding_model: 'all-minilm:latest', dimensions: 8 };
  await db
    .insertInto('collections')
    .values({ id: collection, user_id: userId, name, ...model })
    .execute();
  const made = { id: document, user_id: userId, collection_id: collection, status: 'ready' as const, metadata: '{}' };
  const content = { content_type: 'text/plain', content_hash: document, bytes: 1 };
  await db
    .insertInto('documents')
    .values({ ...made, ...content })
    .execute();
  if (!route.endsWith('/:id')) return { id: name, row: collection, table: 'collections' };
  return { id: `${name}/documents/${document}`, row: document, table: 'documents' };
}

/** What has an id of OpenAI's kind: a prefix, then that of its row. */
function namedRow(table: RouteObject['table'], id: string): RouteObject {
  return { id, table, row: id.slice(-36) };
}

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
  const { rows } = await sql`select * from ${sql.table(object.table)} where id = ${object.row ?? object.id}`.execute(
    world.db,
  );
  return rows;
}

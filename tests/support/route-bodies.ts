import { ADMIN_PASSWORD, type Client, type World } from './world.ts';

let count = 0;

/** An address that nobody listens at. */
export const SCHEDULE = { every_seconds: 86_400, task: { type: 'echo', input: { message: 'x' } } };
export const makeAgent = () => ({
  name: `agent-${process.pid}-${++count}`,
  type: 'http',
  endpoint: 'http://127.0.0.1:9',
});
export const HOOK = { url: 'http://127.0.0.1:9/hook' };

const LINE = {
  ...{ custom_id: 'x', method: 'POST', url: '/v1/chat/completions' },
  body: { model: 'tinyllama', messages: [{ role: 'user', content: 'x' }] },
};

/** A file with one line for a batch, which waits where no worker is. */
export async function uploadFile(owner: Client): Promise<{ id: string }> {
  return (await owner.request<{ id: string }>('POST', '/v1/files', fileForm())).body;
}

async function batchBody(owner: Client): Promise<object> {
  const { id } = await uploadFile(owner);
  return { input_file_id: id, endpoint: '/v1/chat/completions', completion_window: '24h' };
}

function fileForm(): FormData {
  const form = new FormData();
  form.append('purpose', 'batch');
  form.append('file', new Blob([JSON.stringify(LINE)]), 'lines.jsonl');
  return form;
}

/** One whose name nobody else has, so that it can be looked for. */
export const makeCollection = () => ({ name: `collection-${process.pid}-${++count}`, embedding_model: null });

const STEPS = [{ id: 'only', type: 'echo', input: { message: 'x' } }];
export const makeWorkflow = () => ({ name: `workflow-${process.pid}-${++count}`, steps: STEPS });

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
  'POST /api/v1/tasks/:id/retry': () => ({}),
  'POST /api/v1/tasks/:id/approve': () => ({ step: 'ask' }),
  'POST /api/v1/tasks/:id/reject': () => ({ step: 'ask' }),
  'POST /api/v1/schedules': () => SCHEDULE,
  'PATCH /api/v1/schedules/:id': () => ({ name: 'another' }),
  'POST /api/v1/collections': makeCollection,
  'POST /api/v1/collections/:name/search': () => ({ query: 'x' }),
  'POST /api/v1/collections/:name/documents': () => ({ text: 'x' }),
  'POST /api/v1/agents': makeAgent,
  'PATCH /api/v1/agents/:id': () => ({ is_active: false }),
  'POST /api/v1/workflows': makeWorkflow,
  'PATCH /api/v1/workflows/:name': () => ({ steps: STEPS }),
  'POST /api/v1/webhooks': () => HOOK,
  'PATCH /api/v1/webhooks/:id': () => ({ name: 'another' }),
  'POST /api/v1/webhooks/:id/recover': () => ({ since: '2030-01-01T00:00:00Z' }),
  'POST /v1/files': fileForm,
  'POST /v1/batches': (_, asker) => batchBody(asker),
  'POST /v1/responses': () => ({ model: 'tinyllama', input: 'x', background: true }),
  'POST /api/v1/chat': () => ({ messages: [{ role: 'user', content: 'x' }] }),
  'POST /v1/chat/completions': () => ({ model: 'tinyllama', messages: [{ role: 'user', content: 'x' }] }),
  'POST /v1/embeddings': () => ({ model: 'all-minilm', input: 'x' }),
  'POST /api/v1/models/pull': () => ({ model: 'tinyllama' }),
  'POST /api/v1/tasks': () => ({ type: 'echo', input: { message: 'x' }, delay_seconds: 600 }),
  'POST /api/v1/callbacks/:token': () => ({ done: true }),
  'POST /api/v1/tasks/bulk': () => ({ action: 'cancel', filter: { tag: 'none' } }),
  'POST /api/v1/tasks/batch': () => ({ tasks: [{ type: 'echo', input: { message: 'x' }, delay_seconds: 600 }] }),
};

/** A body that the route takes; `undefined` where it takes none. */
export async function makeBody(world: World, asker: Client, route: string): Promise<unknown> {
  return BODIES[route]?.(world, asker);
}

/** The routes that take a form, and nothing else. */
export const ROUTES_WITH_FORM = ['POST /v1/files'];

/** The routes that take a body. */
export const ROUTES_WITH_BODY = Object.keys(BODIES).filter((route) => !ROUTES_WITH_FORM.includes(route));

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { type A2aAgent, type Fields, startA2aAgent } from '../support/a2a-agent.ts';
import { addAgent } from '../support/add-agent.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const SECRET = 'a2a-secret-of-alice';
const SAYS = {
  JSONRPC: [{ text: 'hello back' }],
  'HTTP+JSON': [{ text: 'hello back' }],
  '0.3': [{ kind: 'text', text: 'hello back' }],
};
const VERSIONS = ['JSONRPC', 'HTTP+JSON', '0.3'] as const;

let world: World;
let client: Client;
let agent: A2aAgent | undefined;
beforeAll(async () => {
  // One place, so that whoever kept it while it waits would hold up all others.
  world = await createWorld({ env: { WORKER_CONCURRENCY: '1', SHUTDOWN_GRACE_SECONDS: '0' } });
  client = await world.client();
});
afterAll(() => world.close());
afterEach(async () => {
  await agent?.close();
  agent = undefined;
});

let made = 0;
async function start(
  speaks: (typeof VERSIONS)[number] = 'JSONRPC',
  { push = false, config = {} } = {},
): Promise<A2aAgent> {
  agent = await startA2aAgent(speaks, { push });
  await addAgent(world, {
    ...{ name: `a2a-${++made}`, type: 'a2a', userId: client.userId, endpoint: agent.url, secrets: { token: SECRET } },
    config: { headers: { authorization: 'Bearer ${{ secrets.token }}' }, poll_seconds: 1, ...config },
  });
  return agent;
}
const submit = (input: unknown = 'hello') => client.submit('agent.run', { agent: `a2a-${made}`, input });
const ask = async (input?: unknown) => client.waitForEnd((await submit(input)).id);
const ledger = async (id: string) => (await listAttempts(world.db, id)).map(({ outcome }) => outcome);
const parked = (id: string) => until('it waits', async () => (await ledger(id)).includes('parked'));
const methods = ({ calls }: A2aAgent) => calls.map(({ path, body }) => body.method ?? path);

describe.each(VERSIONS)('an A2A agent that speaks %s', (speaks) => {
  const parts = SAYS[speaks];

  it('is asked as its card says, and answers with a message', async () => {
    const { calls, ...host } = await start(speaks);
    agent = Object.assign(agent as A2aAgent, { onMessage: () => ({ message: parts }) });
    const task = await ask({ text: 'hello' });
    expect(task).toMatchObject({
      ...{ status: 'completed', output: { agent: { name: `a2a-${made}` }, output: { text: 'hello back' } } },
    });
    expect(calls.map(({ path }) => path)).toEqual([
      ...['/.well-known/agent-card.json', speaks === 'HTTP+JSON' ? '/a2a/message:send' : '/a2a'],
    ]);
    expect(calls.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${SECRET}`, `Bearer ${SECRET}`]);
    expect(calls[1]?.headers['a2a-version']).toBe(speaks === '0.3' ? '0.3' : '1.0');
    const body = calls[1]?.body ?? {};
    const { message } = (body.params ?? body) as { message: Fields };
    expect(message).toMatchObject({
      messageId: calls[1]?.headers['idempotency-key'],
      role: expect.stringMatching(/user/i),
    });
    expect(message.parts).toEqual([speaks === '0.3' ? { kind: 'text', text: 'hello' } : { text: 'hello' }]);
    expect(host.tasks).toEqual([]);
  });

  it('is looked at again while it works, at first at once, then without a worker', async () => {
    const host = await start(speaks);
    const quick = submit();
    await host.nextCall(speaks === 'HTTP+JSON' ? '/a2a/tasks/t1' : speaks === '0.3' ? 'tasks/get' : 'GetTask');
    await host.move(host.tasks[0] as never, 'completed', parts);
    const first = await client.waitForEnd((await quick).id);
    expect(first).toMatchObject({
      attempt: 1,
      output: { output: { text: 'hello back', task_id: 't1', context_id: 'c-t1' } },
    });

    const { id } = await submit({ n: 1 });
    await parked(id);
    await client.runTask('http.request', { method: 'GET', url: `${host.url}/.well-known/agent-card.json` });
    // Now and then it waits for the moment in which it is looked at again.
    await until(
      'it goes on',
      async () => (await client.request('GET', `/api/v1/tasks/${id}`)).body.status === 'running',
    );
    await host.move(host.tasks[1] as never, 'completed', parts);
    expect(await client.waitForEnd(id)).toMatchObject({ output: { output: { text: 'hello back', task_id: 't2' } } });
    const [last, ...before] = (await ledger(id)).reverse();
    expect([last, ...new Set(before)]).toEqual(['completed', 'parked']);
    // It was asked once.
    expect(host.tasks).toHaveLength(2);
  });

  it('that can call back does, and is asked what came of it', async () => {
    const host = await start(speaks, { push: true });
    const { id } = await submit();
    await parked(id);
    const [task] = host.tasks;
    expect(task?.push).toMatch(/\/api\/v1\/callbacks\//);
    expect(await host.move(task as never, 'completed', parts)).toBe(202);
    expect(await client.waitForEnd(id)).toMatchObject({ output: { output: { text: 'hello back' } }, attempt: 2 });
    expect(await ledger(id)).toEqual(['parked', 'completed']);
    expect(methods(host)).toHaveLength(3);
  });
});

describe('an A2A agent', () => {
  it('is told once that its task was cancelled, whether a worker held that or not', async () => {
    const host = await start();
    const asked = host.nextCall('GetTask');
    const held = await submit();
    await asked;
    const heard = host.nextCall('CancelTask');
    await client.request('POST', `/api/v1/tasks/${held.id}/cancel`);
    expect((await heard).body).toMatchObject({ method: 'CancelTask', params: { id: 't1' } });
    const { id } = await submit();
    await parked(id);
    const again = host.nextCall('CancelTask');
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    const { body, headers } = await again;
    expect([body.params, headers.authorization]).toEqual([{ id: 't2' }, `Bearer ${SECRET}`]);
    expect(methods(host).filter((method) => method === 'CancelTask')).toHaveLength(2);
  });

  it.each([
    ['failed', 'agent_failed', 'it has failed: no more tea'],
    ['rejected', 'upstream_rejected', 'has rejected it: no more tea'],
    ['input-required', 'upstream_rejected', 'asks for more, which a task cannot give it (input_required): no more tea'],
  ])('that comes to %s fails the task, which is not tried again', async (state, code, message) => {
    const host = await start();
    host.onMessage = () => ({ state, parts: [{ text: 'no more tea' }] });
    const task = await ask();
    expect(task).toMatchObject({
      status: 'failed',
      attempt: 1,
      error: { code, message: expect.stringContaining(message) },
    });
  });

  it('does not choose where it is called', async () => {
    const host = await start();
    const elsewhere = await startA2aAgent();
    host.card = elsewhere.card;
    expect((await ask()).error).toMatchObject({
      code: 'upstream_protocol',
      message: expect.stringContaining('leads to'),
    });
    expect(elsewhere.calls).toEqual([]);
    await elsewhere.close();
  });

  it('whose word comes before it is done, or not at all, is looked at anyway', async () => {
    const host = await start('JSONRPC', { push: true });
    const { id } = await submit();
    await parked(id);
    const [task] = host.tasks;
    expect(await host.move(task as never, 'working')).toBe(202);
    await until('it was looked at', () => methods(host).includes('GetTask'));
    // The address is good for once; what it is not told any more, it asks for.
    expect(await host.move(task as never, 'completed', [{ text: 'late' }])).toBe(409);
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', output: { output: { text: 'late' } } });
  });

  it('that was moved to another host is not followed there, nor with its secrets back', async () => {
    const host = await start();
    const { id } = await submit();
    await parked(id);
    const elsewhere = await startA2aAgent();
    await world.db.updateTable('agents').set({ endpoint: elsewhere.url }).where('name', '=', `a2a-${made}`).execute();
    const asked = host.calls.length;
    expect(await client.waitForEnd(id)).toMatchObject({
      ...{ status: 'failed', error: { code: 'agent_not_found', message: expect.stringContaining('another host') } },
    });
    expect([host.calls.length, elsewhere.calls]).toEqual([asked, []]);
    await elsewhere.close();
  });

  it('that called back before its task was kept is not asked again', async () => {
    const host = await start('JSONRPC', { push: true });
    const { id } = await submit();
    await parked(id);
    await world.db.deleteFrom('task_memos').where('task_id', '=', id).where('name', '=', 'agent.awaiting').execute();
    expect(await host.move(host.tasks[0] as never, 'completed', [{ text: 'early' }])).toBe(202);
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'failed', error: { code: 'agent_call_lost' } });
    expect(methods(host).filter((one) => one === 'SendMessage')).toHaveLength(1);
  });

  it('that is not done in time is awaited no longer', async () => {
    await start('JSONRPC', { config: { wait_seconds: 1 } });
    const task = await ask();
    expect(task).toMatchObject({ status: 'failed', error: { code: 'callback_timeout', retryable: false } });
  });

  it('that does not answer for a while is not asked twice for the same', async () => {
    const host = await start();
    const { id } = await submit();
    await parked(id);
    const [task] = host.tasks.splice(0);
    host.onMessage = () => ({ message: [{ text: 'a second time' }] });
    const { card } = host;
    host.card = {};
    host.tasks.push({ ...(task as (typeof host.tasks)[0]), state: 'completed', parts: [{ text: 'once' }] });
    expect(await client.waitForEnd(id)).toMatchObject({ output: { output: { text: 'once' } } });
    expect(methods(host).filter((one) => one === 'SendMessage')).toHaveLength(1);
    host.card = card;
  });
});

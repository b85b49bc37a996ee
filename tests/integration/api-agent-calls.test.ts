import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { addAgent } from '../support/add-agent.ts';
import { hangUp, json, type Reaction, type ScriptedHttp, startScriptedHttp } from '../support/scripted-http.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

/** Calls of agents that outlive an attempt: those that are answered by a call back, and those that broke off. */
describe('a call of an agent', () => {
  let world: World;
  let client: Client;
  let host: ScriptedHttp;
  let made = 0;
  beforeAll(async () => {
    // One place, so that whoever kept it while it waits would hold up all others.
    world = await createWorld({ env: { WORKER_CONCURRENCY: '1', SHUTDOWN_GRACE_SECONDS: '0' } });
    client = await world.client();
    host = await startScriptedHttp();
  });
  afterAll(async () => {
    await world.close();
    await host.close();
  });

  async function submit(config: Record<string, unknown>, input: unknown = { a: 1 }, more = {}) {
    const name = `agent-${++made}`;
    const id = await addAgent(world, { name, userId: client.userId, endpoint: host.url, config });
    return { agent: id, ...(await client.submit('agent.run', { agent: name, input }, more)) };
  }
  const ledger = async (id: string) => (await listAttempts(world.db, id)).map(({ outcome }) => outcome);
  const asked = () => until('the call', () => host.asked[0]);
  const parked = (id: string) => until('it waits', async () => (await ledger(id)).includes('parked'));
  const accept: Reaction = json(202, {});
  async function callBack(body: unknown): Promise<number> {
    const address = String(host.asked[0]?.headers['sutazai-callback']);
    const headers = { 'content-type': 'application/json' };
    return (await fetch(address, { method: 'POST', headers, body: JSON.stringify(body) })).status;
  }

  it('that is answered later is awaited without a worker, and its answer is taken once', async () => {
    host.script(accept);
    const { id, agent } = await submit({
      request: { body: { input: '${{ input }}', to: '${{ callback_url }}' } },
      async: { output: 'body.result' },
    });
    await parked(id);
    expect((await client.request('GET', `/api/v1/tasks/${id}`)).body).toMatchObject({
      ...{ status: 'running', agent_id: agent, attempt: 1 },
    });
    await client.runTask('http.request', { method: 'GET', url: `${host.url}/other` });
    const [call] = host.asked;
    expect(JSON.parse(call?.body ?? '')).toEqual({ input: { a: 1 }, to: call?.headers['sutazai-callback'] });
    expect(await callBack({ result: { sum: 3 } })).toBe(202);
    expect(await client.waitForEnd(id)).toMatchObject({
      ...{ status: 'completed', attempt: 2 },
      output: { output: { sum: 3 }, status: 202, agent: { id: agent } },
    });
    expect(await callBack({ result: 'again' })).toBeGreaterThanOrEqual(409);
    expect(await ledger(id)).toEqual(['parked', 'completed']);
    expect(host.asked.filter(({ url }) => url === '/')).toHaveLength(1);
  });

  it('is answered also where the agent calls back before it says 202, or says nothing any more', async () => {
    const early =
      (end: Reaction): Reaction =>
      (answer, one) =>
        void callBack('early').then(() => end(answer, one));
    for (const end of [accept, hangUp]) {
      host.script(early(end));
      const { id } = await submit({ async: {} });
      expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', output: { output: 'early' } });
      expect(host.asked).toHaveLength(1);
    }
  });

  it('that is accepted fails where the agent calls back that it has failed, or does not in time', async () => {
    host.script(accept);
    const said = await submit({ async: { error: 'body.?error.orValue("")' } });
    await asked();
    await callBack({ error: 'out of ideas' });
    expect((await client.waitForEnd(said.id)).error).toMatchObject({
      code: 'agent_failed',
      message: expect.stringContaining('out of ideas'),
    });
    host.script(accept);
    const late = await submit({ async: { timeout_seconds: 1 } });
    expect(await client.waitForEnd(late.id)).toMatchObject({
      ...{ status: 'failed', attempt: 2, error: { code: 'callback_timeout', retryable: false } },
    });
    expect(host.asked).toHaveLength(1);
  });

  it('is an answer like any other where it is 202 and nothing is said of calling back', async () => {
    host.script(json(202, { queued: true }));
    const { id } = await submit({});
    expect((await client.waitForEnd(id)).output).toMatchObject({ status: 202, output: { queued: true } });
    expect(host.asked[0]?.headers).not.toHaveProperty('sutazai-callback');
  });
});

describe('a call of an agent whose worker is gone', () => {
  let world: World;
  let client: Client;
  let host: ScriptedHttp;
  beforeAll(async () => {
    world = await createWorld({ mode: 'start', env: { WORKER_LANES: 'webhook', SHUTDOWN_GRACE_SECONDS: '0' } });
    client = await world.client();
    host = await startScriptedHttp();
  });
  afterAll(async () => {
    await world.close();
    await host.close();
  });

  it.each([
    ['is made again with the same key where it may be', { retries: true }, 2],
    ['is not made again where it may not be', {}, 1],
  ])('%s', async (_, config, calls) => {
    const name = `agent-${calls}`;
    await addAgent(world, { name, userId: client.userId, endpoint: host.url, config });
    host.script(() => {}, json(200, 'done'));
    const worker = await world.join('worker', { WORKER_LANES: 'agent' });
    const { id } = await client.submit('agent.run', { agent: name, input: 1 });
    await until('the call', () => host.asked.length === 1);
    await worker.close();
    const other = await world.join('worker', { WORKER_LANES: 'agent' });
    const task = await client.waitForEnd(id);
    if (calls === 2) expect(task).toMatchObject({ status: 'completed', output: { output: 'done' } });
    else expect(task).toMatchObject({ status: 'failed', error: { code: 'agent_call_lost', retryable: false } });
    expect(host.asked).toHaveLength(calls);
    expect(new Set(host.asked.map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
    if (calls === 1) {
      // Whoever has it run again by hand wants it done again: under a new key.
      await client.request('POST', `/api/v1/tasks/${id}/retry`);
      await until('another call', () => host.asked.length === 2);
      expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed' });
      expect(new Set(host.asked.map(({ headers }) => headers['idempotency-key'])).size).toBe(2);
    }
    await other.close();
  });
});

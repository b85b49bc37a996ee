import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { type FakeOllama, type Script, sendLines } from '../support/fake-ollama.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { createTwoHosts, type TwoHosts } from '../support/two-hosts.ts';
import { until } from '../support/until.ts';
import type { Client, World } from '../support/world.ts';

type Model = { name: string; hosts: Array<{ host: string; digest: string }> };

let hosts: TwoHosts;
let second: FakeOllama;
let world: World;
let operator: Client;
beforeAll(async () => {
  hosts = await createTwoHosts({ MODELS_BY_ROLE: 'user:tinyllama,all-minilm,hf.co/org/small:Q4_K_M;operator:*' });
  ({ world, second, operator } = hosts);
});
afterAll(() => hosts.close());
beforeEach(() => {
  hosts.reset();
  second.models.push({ name: 'hf.co/org/small:Q4_K_M', capabilities: ['completion'], context_length: 4096 });
});

const chat = (model?: string) => ({ messages: [{ role: 'user', content: 'x' }], model });
const model = (client: Client, method: string, name: string) =>
  client.request<Model & Record<string, unknown>>(method, `/api/v1/models/${encodeURIComponent(name)}`);
const pull = (input: object, client = operator) => client.request<PresentedTask>('POST', '/api/v1/models/pull', input);

describe('the models of several hosts', () => {
  it('are shown one by one, with slashes and tags in their names, and without addresses', async () => {
    const { status, body } = await model(operator, 'GET', 'hf.co/org/small:Q4_K_M');
    expect([status, body]).toEqual([
      200,
      expect.objectContaining({
        ...{ name: 'hf.co/org/small:Q4_K_M', context_length: 4096, default_for: [] },
        hosts: [{ host: 'host-2', digest: 'sha256:hf.co/org/small:Q4_K_M', loaded: true, up: true }],
      }),
    ]);
    expect((await model(operator, 'GET', 'tinyllama')).body).toMatchObject({
      ...{ name: 'tinyllama:latest', default_for: ['completion'] },
      hosts: [{ host: 'host-1' }, { host: 'host-2' }],
    });
    expect(JSON.stringify(body)).not.toMatch(/127\.0\.0\.1|:\/\//);
    expectProblem(await model(operator, 'GET', 'gone'), 'not_found');
  });

  it('are found as soon as they are there', async () => {
    await model(operator, 'GET', 'tinyllama');
    second.models.push({ name: 'new:1b', capabilities: ['completion'] });
    expect((await model(operator, 'GET', 'new:1b')).body).toMatchObject({ hosts: [{ host: 'host-2' }] });
  });

  it('are told of in readiness, which is degraded while one host is away', async () => {
    const ready = async () => {
      const { status, body } = await world.anonymous.request('GET', '/readyz');
      const dependencies = body.dependencies as Array<{ name: string; status: string; hosts: number; up: number }>;
      return { status, whole: body.status, models: dependencies.find(({ name }) => name === 'models') };
    };
    const whenUp = (up: number) =>
      until(`${up} hosts are up`, async () => {
        const found = await ready();
        return found.models?.up === up ? found : undefined;
      });
    const whole = (await whenUp(2)).whole;
    second.everything = (_, response) => {
      response.socket?.destroy();
      return true;
    };
    expect(await whenUp(1)).toMatchObject({ status: 200, whole: 'degraded', models: { status: 'degraded', hosts: 2 } });
    second.everything = undefined;
    expect(await whenUp(2)).toMatchObject({ status: 200, whole, models: { status: 'up', hosts: 2 } });
  });
});

describe('models by role', () => {
  it('are all that its users see, and all that they may ask for', async () => {
    for (const host of [world.ollama, second]) host.models.unshift({ name: 'big:7b', capabilities: ['completion'] });
    const user = await world.client('user');
    const names = async (client: Client) =>
      (await client.request<{ data: Model[] }>('GET', '/api/v1/models')).body.data.map(({ name }) => name);
    await model(operator, 'GET', 'big:7b');
    expect(await names(operator)).toContain('big:7b');
    expect(await names(user)).toEqual(['tinyllama:latest', 'all-minilm:latest', 'hf.co/org/small:Q4_K_M']);
    expectProblem(await model(user, 'GET', 'big:7b'), 'not_found');

    const refused = await user.request('POST', '/api/v1/tasks', { type: 'chat', input: chat('big:7b') });
    const problem = expectProblem(refused, 'forbidden');
    expect(pointersOf(problem)).toEqual(['#/input/model']);
    expect(JSON.stringify(problem)).toContain('MODELS_BY_ROLE');
    const schedule = { every_seconds: 60, task: { type: 'chat', input: chat('big:7b') } };
    expectProblem(await user.request('POST', '/api/v1/schedules', schedule), 'forbidden');
    const openAi = await user.request<{ data: Array<{ id: string }> }>('GET', '/v1/models');
    expect(openAi.body.data.map(({ id }) => id)).not.toContain('big:7b');
    const refusedThere = await user.request('POST', '/v1/chat/completions', chat('big:7b'));
    expect(JSON.stringify(expectProblem(refusedThere, 'forbidden'))).toContain('MODELS_BY_ROLE');
    const { id } = await user.runTask('chat', chat());
    expectProblem(await user.request('POST', `/api/v1/tasks/${id}/retry`, { input: chat('big:7b') }), 'forbidden');
    expect((await operator.runTask('chat', chat('big:7b'))).model).toBe('big:7b');
  });

  it('hold where the worker chooses, and for a role that was taken away meanwhile', async () => {
    for (const host of [world.ollama, second]) host.models[0] = { name: 'big:7b', capabilities: ['completion'] };
    const user = await world.client('user');
    expect(await user.runTask('chat', chat())).toMatchObject({ model: 'hf.co/org/small:Q4_K_M' });
    const former = await world.client('operator');
    const { id } = await former.submit('chat', chat('big:7b'), { delay_seconds: 1 });
    await world.db.updateTable('users').set({ role: 'user' }).where('id', '=', former.userId).execute();
    const row = () => world.db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    await until('it has ended', async () => (await row()).status === 'failed');
    expect(await row()).toMatchObject({ error: { code: 'forbidden', retryable: false }, attempt: 1 });
  });
});

describe('a pull', () => {
  const lines = (...all: unknown[]): Script => {
    return (call, response) => {
      if (call.path !== '/api/pull') return false;
      sendLines(response, all);
      return true;
    };
  };
  const layer = (digest: string, total: number, completed?: number) => ({
    status: `pulling ${digest}`,
    digest,
    total,
    completed,
  });

  it('is a task that brings the model to every host, and tells of bytes', async () => {
    const steps = Promise.withResolvers<void>();
    for (const host of [world.ollama, second])
      host.script = async ({ path, body }, response) => {
        if (path !== '/api/pull') return false;
        response.writeHead(200, { 'content-type': 'application/x-ndjson' });
        const write = (line: unknown) => response.write(`${JSON.stringify(line)}\n`);
        // Zero is left out, and a download that begins again counts from its beginning.
        for (const line of [layer('a', 20e6), layer('a', 20e6, 12.3e6), layer('a', 20e6, 1e6)]) write(line);
        await steps.promise;
        for (const line of [layer('a', 20e6, 20e6), layer('b', 6.7e6, 6.7e6)]) write(line);
        host.models.push({ name: String(body.name), capabilities: ['completion'] });
        response.end(`${JSON.stringify({ status: 'success' })}\n`);
        return true;
      };
    const { status, headers, body } = await pull({ model: 'phi:1b' });
    expect([status, body.type, headers.get('location')]).toEqual([202, 'model.pull', expect.stringContaining(body.id)]);
    const now = async () => (await operator.request<PresentedTask>('GET', `/api/v1/tasks/${body.id}`)).body;
    await until('it tells of bytes', async () => (await now()).progress?.message === '24.6 of 40.0 MB');
    expect((await now()).progress?.percent).toBeCloseTo(61.5);
    steps.resolve();
    const done = await operator.waitForEnd(body.id);
    expect(done).toMatchObject({
      status: 'completed',
      output: {
        model: 'phi:1b',
        hosts: [1, 2].map((n) => ({ host: `host-${n}`, digest: 'sha256:phi:1b', size: 1000 })),
      },
    });
    const { body: timeline } = await operator.request<{ data: Array<{ type: string; data?: { message?: string } }> }>(
      'GET',
      `/api/v1/tasks/${body.id}/timeline`,
    );
    expect(JSON.stringify(timeline)).toContain('53.4 of 53.4 MB');
    expect((await model(operator, 'GET', 'phi:1b')).body.hosts).toHaveLength(2);
  });

  it('goes to the hosts that are named, and twice at once ends well twice', async () => {
    const given = { model: 'phi:2b', hosts: ['host-2'] };
    const wait = () => operator.request('POST', '/api/v1/models/pull', given, { prefer: 'wait=20' });
    for (const { status, headers, body } of await Promise.all([wait(), wait()])) {
      expect([status, headers.get('preference-applied')]).toEqual([200, 'wait=20']);
      expect(body).toMatchObject({ status: 'completed', output: { hosts: [{ host: 'host-2' }] } });
    }
    expect(world.ollama.models.some(({ name }) => name === 'phi:2b')).toBe(false);
    expect(
      pointersOf(expectProblem(await pull({ model: 'x', hosts: ['host-2', 'host-9'] }), 'validation_failed')),
    ).toEqual(['#/hosts/1']);
  });

  it('fails with the error line of a stream that began well, and says on which host', async () => {
    second.script = lines({ status: 'pulling manifest' }, { error: 'pull model manifest: file does not exist' });
    const { body } = await operator.request<PresentedTask>('POST', '/api/v1/models/pull', { model: 'nowhere' });
    await until('an attempt has failed', async () => {
      const task = (await operator.request<PresentedTask>('GET', `/api/v1/tasks/${body.id}`)).body;
      return task.error?.message.includes('could not be pulled to host-2: pull model manifest') ?? false;
    });
    await operator.request('POST', `/api/v1/tasks/${body.id}/cancel`);
    // The other host has it all the same.
    expect((await model(operator, 'GET', 'nowhere')).body.hosts).toMatchObject([{ host: 'host-1' }]);
  });

  it('that is cancelled closes its streams', async () => {
    const begin: Script = ({ path }, response) => {
      if (path !== '/api/pull') return false;
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.write(`${JSON.stringify(layer('a', 20e6, 1e6))}\n`);
      return true;
    };
    for (const host of [world.ollama, second]) host.script = begin;
    const called = Promise.all([world.ollama.nextCall('/api/pull'), second.nextCall('/api/pull')]);
    const { body } = await pull({ model: 'huge:70b' });
    const calls = await called;
    await operator.request('POST', `/api/v1/tasks/${body.id}/cancel`);
    expect(await Promise.all(calls.map(({ closedEarly }) => closedEarly))).toEqual([true, true]);
    expect((await operator.waitForEnd(body.id)).status).toBe('cancelled');
  });

  it('is for operators, and made by its route alone', async () => {
    const user = await world.client('user');
    expectProblem(await pull({ model: 'phi' }, user), 'forbidden');
    expectProblem(await model(user, 'DELETE', 'tinyllama'), 'forbidden');
    const by = await operator.request('POST', '/api/v1/tasks', { type: 'model.pull', input: { model: 'phi' } });
    expect(pointersOf(expectProblem(by, 'validation_failed'))).toEqual(['#/type']);
  });
});

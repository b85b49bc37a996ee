import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Agent, agentCalls, HERE, newName } from '../support/agents.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

describe('the registry of agents', () => {
  let world: World;
  let owner: Client;
  let other: Client;
  let operator: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { MAX_AGENTS_PER_USER: '30' } });
    [owner, other, operator] = await Promise.all([world.client(), world.client(), world.client('operator')]);
  });
  afterAll(() => world.close());

  const { post, patch, get, make } = agentCalls;

  it('keeps one of each type, and finds it by its id and its name', async () => {
    const http = {
      request: { path: '/do/${{ input.what }}', body: { q: '${{ input.q }}' } },
      response: { output: 'body.a' },
    };
    const made = await make(owner, {
      capabilities: ['translation'],
      description: ' Does it. ',
      port: 8,
      endpoint: 'http://127.0.0.1/a/',
      config: http,
    });
    expect(made).toMatchObject({
      ...{
        user_id: owner.userId,
        description: 'Does it.',
        is_active: true,
        capabilities: ['translation'],
        config: http,
      },
      ...{ endpoint: 'http://127.0.0.1/a/', port: 8, secret_names: [] },
    });
    await make(owner, { type: 'a2a', config: { headers: { 'X-Key': 'k' } } });
    await make(owner, { type: 'openai', config: { model: 'gpt', path: '/v1/chat/completions?api-version=1' } });
    const ollama = {
      type: 'ollama',
      endpoint: undefined,
      config: { tools: [{ type: 'http_get', name: 'get', urls: [`${HERE}/a`] }] },
    };
    expect(await make(owner, ollama)).toMatchObject({ endpoint: null, port: null });
    expect((await get(owner, made.id)).body).toEqual(made);
    expect((await get(owner, made.name)).body).toEqual(made);
    const list = (query: string) => owner.request<{ data: Agent[] }>('GET', `/api/v1/agents?${query}`);
    expect((await list('capability=translation')).body.data).toEqual([made]);
    expect((await list('type=a2a')).body.data).toHaveLength(1);
    expect((await list('limit=2')).body).toMatchObject({
      data: [{ type: 'ollama' }, { type: 'openai' }],
      next_cursor: expect.any(String),
    });
  });

  it.each<[string, object, string]>([
    ['a type that is not known', { type: 'telnet' }, '#/type'],
    ['a private address that nobody allowed', { endpoint: 'http://10.0.0.1' }, '#/endpoint'],
    ['an address of no host', { endpoint: 'agents' }, '#/endpoint'],
    ['another protocol', { endpoint: 'ftp://example.com' }, '#/endpoint'],
    ['no address', { endpoint: undefined }, '#/endpoint'],
    ['two ports', { port: 10 }, '#/port'],
    ['an address for a model of ours', { type: 'ollama' }, '#/endpoint'],
    ['a field of another type', { config: { model: 'x' } }, '#/config/model'],
    ['an owner', { user_id: '01980000-0000-7000-8000-000000000000' }, '#/user_id'],
    [
      'a private address in a tool',
      {
        type: 'ollama',
        endpoint: undefined,
        config: { tools: [{ type: 'http_get', name: 'a', urls: [`${HERE}/`, 'http://192.168.0.1/'] }] },
      },
      '#/config/tools/0/urls/1',
    ],
    [
      'an expression that cannot be read',
      { config: { request: { body: { a: ['${{ input. }}'] } } } },
      '#/config/request/body/a/0',
    ],
    ['a value that is not there', { config: { request: { path: '/${{ env.HOME }}' } } }, '#/config/request/path'],
    [
      'a secret that is not there',
      { config: { request: { headers: { 'X-Key': '${{ secrets.key }}' } } } },
      '#/config/request/headers/X-Key',
    ],
    [
      'a secret that the input chooses',
      { secrets: { key: 'x' }, config: { request: { body: '${{ secrets[input.x] }}' } } },
      '#/config/request/body',
    ],
    [
      'a secret in the answer',
      { secrets: { key: 'x' }, config: { response: { output: 'secrets.key' } } },
      '#/config/response/output',
    ],
    [
      'the input in what goes with every call',
      { type: 'a2a', config: { headers: { A: '${{ input.a }}' } } },
      '#/config/headers/A',
    ],
    ['a configuration without end', { config: { request: { body: 'x'.repeat(66_000) } } }, '#/config'],
    ['an id for a name', { name: '01980000-0000-7000-8000-000000000000' }, '#/name'],
    ['a capability twice', { capabilities: ['a', 'a'] }, '#/capabilities'],
  ])('refuses %s', async (_, body, pointer) => {
    expect(pointersOf(expectProblem(await post(owner, body), 'validation_failed'))).toEqual([pointer]);
  });

  it('has a name once for each owner, and gives it free again', async () => {
    const name = newName();
    const { id } = await make(owner, { name });
    expectProblem(await post(owner, { name }), 'already_exists');
    await make(other, { name });
    const { id: second } = await make(owner);
    expectProblem(await patch(owner, second, { name }), 'already_exists');
    expect((await patch(owner, id, { name })).status).toBe(200);
    expect((await owner.request('DELETE', `/api/v1/agents/${name}`)).status).toBe(204);
    expectProblem(await get(owner, id), 'not_found');
    await make(owner, { name });
  });

  it('stores a name once, also where many ask for it at the same moment', async () => {
    const name = newName();
    const all = await Promise.all(Array.from({ length: 6 }, () => post(owner, { name })));
    expect(all.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409, 409]);
  });

  it('lets operators see and switch the agents of others, and do nothing else with them', async () => {
    const made = await make(owner, { secrets: { a: 'hush' } });
    expectProblem(await get(other, made.id), 'not_found');
    expectProblem(await get(other, made.name), 'not_found');
    expect((await get(operator, made.id)).body).toEqual(made);
    expect((await patch(operator, made.id, { is_active: false })).body).toEqual({
      ...made,
      is_active: false,
      updated_at: expect.any(String),
    });
    for (const body of [{ endpoint: HERE }, { secrets: { a: 'mine' } }, { is_active: true, name: 'x' }])
      expectProblem(await patch(operator, made.id, body), 'forbidden');
  });

  it('has agents of everybody, whose inside is the business of operators', async () => {
    expectProblem(await post(owner, { shared: true }), 'forbidden');
    const config = { request: { path: '/inside' } };
    const made = await make(operator, { shared: true, config, secrets: { a: 'hush' }, capabilities: ['common'] });
    expect(made).toMatchObject({ user_id: null, config, endpoint: HERE, secret_names: ['a'] });
    const shown = { ...made, endpoint: null, port: null, config: null, secret_names: null };
    expect((await get(owner, made.name)).body).toEqual(shown);
    const list = await owner.request<{ data: Agent[] }>('GET', '/api/v1/agents?capability=common');
    expect(list.body.data).toEqual([shown]);
    for (const client of [owner, other]) {
      expectProblem(await patch(client, made.id, { is_active: false }), 'forbidden');
      expectProblem(await client.request('DELETE', `/api/v1/agents/${made.id}`), 'forbidden');
    }
    const own = await make(owner, { name: made.name });
    expect((await get(owner, made.name)).body.id).toBe(own.id);
    expect((await get(other, made.name)).body.id).toBe(made.id);
    expect((await owner.request('DELETE', `/api/v1/agents/${made.name}`)).status).toBe(204);
    expect((await operator.request('DELETE', `/api/v1/agents/${made.name}`)).status).toBe(204);
  });

  it('forgets how an agent was when it is somewhere else, and not when it is called something else', async () => {
    const { id } = await make(owner);
    const stateOf = async () => {
      const row = world.db.selectFrom('agent_health').select('state').where('agent_id', '=', id);
      return (await row.executeTakeFirstOrThrow()).state;
    };
    await world.db.insertInto('agent_health').values({ agent_id: id, state: 'down' }).execute();
    await patch(owner, id, { name: newName(), is_active: true });
    expect(await stateOf()).toBe('down');
    for (const body of [{ port: 9 }, { config: {} }, { secrets: { a: 'b' } }, { endpoint: `${HERE}/a` }]) {
      await world.db.updateTable('agent_health').set({ state: 'down' }).where('agent_id', '=', id).execute();
      expect((await patch(owner, id, body)).status).toBe(200);
      expect(await stateOf(), JSON.stringify(body)).toBe('unknown');
    }
  });

  it('gives tasks to nobody whose agent it is not', async () => {
    const { id } = await make(owner);
    const shared = await make(operator, { shared: true });
    const submit = (client: Client, agent_id: string) =>
      client.request('POST', '/api/v1/tasks', { type: 'echo', input: { message: 'x' }, agent_id, delay_seconds: 600 });
    expect((await submit(owner, id)).status).toBe(202);
    expect(pointersOf(expectProblem(await submit(other, id), 'validation_failed'))).toEqual(['#/agent_id']);
    expect((await submit(other, shared.id)).status).toBe(202);
    await patch(owner, id, { is_active: false });
    expectProblem(await submit(owner, id), 'validation_failed');
  });

  it('holds as many of a user as the setting allows, and those of everybody besides', async () => {
    const full = await world.client('operator');
    const all = await Promise.all(Array.from({ length: 32 }, () => post(full, {})));
    expect(all.filter(({ status }) => status === 201)).toHaveLength(30);
    expectProblem(await post(full, {}), 'limit_reached');
    await make(full, { shared: true });
  });
});

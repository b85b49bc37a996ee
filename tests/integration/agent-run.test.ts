import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { addAgent, type GivenAgent } from '../support/add-agent.ts';
import { hangUp, json, type Reaction, type ScriptedHttp, startScriptedHttp } from '../support/scripted-http.ts';
import { readEvents } from '../support/sse.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const SECRET = 'sk-very-secret"1';

describe('agent.run', () => {
  let world: World;
  let client: Client;
  let host: ScriptedHttp;
  let made = 0;
  beforeAll(async () => {
    world = await createWorld();
    client = await world.client();
    host = await startScriptedHttp();
  });
  afterAll(async () => {
    await world.close();
    await host.close();
  });

  /** An agent of the user's own, at the host, under a name of its own. */
  async function agent(given: Omit<Partial<GivenAgent>, 'name'> = {}): Promise<{ id: string; name: string }> {
    const name = `agent-${++made}`;
    const id = await addAgent(world, { name, userId: client.userId, endpoint: host.url, ...given });
    return { id, name };
  }
  const ask = (name: string, input: unknown, more = {}) => client.runTask('agent.run', { agent: name, input }, more);
  const ledger = async (id: string) => (await listAttempts(world.db, id)).map(({ outcome }) => outcome);
  const text =
    (status: number, body = ''): Reaction =>
    (answer) =>
      answer.writeHead(status).end(body);

  it('sends what the template makes of the input and answers what the mapping makes of the answer', async () => {
    const { id, name } = await agent({
      endpoint: `${host.url}/base`,
      secrets: { token: SECRET },
      config: {
        request: {
          method: 'PUT',
          path: '/things/${{ input.id }}/parts?fixed=1',
          query: { q: '${{ input.words }}', n: '${{ input.count }}', none: '${{ null }}' },
          headers: { 'X-Token': 'Bearer ${{ secrets.token }}' },
          body: { all: '${{ input.list }}', said: 'count is ${{ input.count }}' },
        },
        response: { output: '{"sum": body.values[0] + body.values[1], "by": headers["x-by"], "was": status}' },
      },
    });
    host.script(json(201, { values: [1, 2.5] }, { 'x-by': 'them' }));
    const input = { id: 'a/../b c', words: 'x & y', count: 3, list: [1, null, { a: 'é' }] };
    const task = await ask(name, input);
    expect(task).toMatchObject({
      status: 'completed',
      agent_id: id,
      output: { agent: { id, name }, output: { sum: 3.5, by: 'them', was: 201 }, status: 201 },
    });
    expect(host.asked).toMatchObject([
      {
        method: 'PUT',
        url: '/base/things/a%2F..%2Fb%20c/parts?fixed=1&n=3&q=x+%26+y',
        headers: { 'x-token': `Bearer ${SECRET}`, 'content-type': 'application/json', 'user-agent': 'SutazAI/1' },
        body: JSON.stringify({ all: input.list, said: 'count is 3' }),
      },
    ]);
    expect(await client.request('GET', `/api/v1/tasks?agent_id=${id}`)).toMatchObject({
      body: { data: [{ id: task.id }] },
    });
  });

  it('posts the whole input and answers the whole body where nothing is said of either', async () => {
    const { name } = await agent();
    host.script(text(200, 'fine'));
    expect(await ask(name, 'hello')).toMatchObject({ output: { output: 'fine', status: 200 } });
    host.script(json(200, null));
    expect(await ask(name, { a: 1 })).toMatchObject({ output: { output: null } });
    expect(host.asked).toMatchObject([{ method: 'POST', url: '/', body: '{"a":1}' }]);
  });

  it.each([
    ['a path that leads elsewhere', { path: '/x/${{ input }}' }, '..', 'path of its request comes to ".."'],
    ['an empty part of a path', { path: '/x/${{ input }}/y' }, '', 'path of its request comes to ""'],
    ['a line break in a header', { headers: { 'x-a': '${{ input }}' } }, 'a\r\nx-b: 1', 'headers.x-a'],
    ['a value that is not there', { body: '${{ input.a.b }}' }, {}, 'body of its request'],
  ])('refuses %s without a call', async (_, request, input, said) => {
    const { name } = await agent({ config: { request } });
    host.script(json(200, {}));
    const task = await ask(name, input);
    expect(task).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'invalid_input' } });
    expect(task.error?.message).toContain(said);
    expect(host.asked).toEqual([]);
  });

  it('says that an agent has failed where its mapping finds an error, or finds nothing', async () => {
    const { name } = await agent({ config: { response: { error: 'body.?error.orValue("")', output: 'body.result' } } });
    host.script(json(200, { error: 'no idea' }));
    expect(await ask(name, 1)).toMatchObject({
      ...{ status: 'failed', attempt: 1 },
      error: { code: 'agent_failed', message: 'The agent answered that it has failed: no idea' },
    });
    host.script(json(200, { other: 1 }));
    expect(await ask(name, 1)).toMatchObject({ status: 'failed', error: { code: 'upstream_protocol' } });
    host.script(json(200, { result: 7 }));
    expect(await ask(name, 1)).toMatchObject({ status: 'completed', output: { output: 7 } });
  });

  it.each([
    ['a method that may be repeated', { request: { method: 'PUT' } }, text(500, 'oh'), ['retry', 'completed']],
    ['the word of the agent', { retries: true }, hangUp, ['retry', 'completed']],
    ['neither', {}, text(500, 'oh'), ['failed']],
    ['the word of it against its method', { request: { method: 'PUT' }, retries: false }, text(500, 'oh'), ['failed']],
  ] as const)('tries again by %s, always with the same key', async (_, config, wrong, outcomes) => {
    const { name } = await agent({ config });
    host.script(wrong, json(200, 'done'));
    const task = await ask(name, 1);
    expect(await ledger(task.id)).toEqual(outcomes);
    const keys = host.asked.map(({ headers }) => headers['idempotency-key']);
    expect([keys.length, new Set(keys).size]).toEqual([outcomes.length, 1]);
    expect(keys[0]).toMatch(/\S/);
    if (outcomes.length === 1)
      expect(task.error).toEqual({
        ...{ code: 'upstream_unavailable', retryable: false },
        message:
          'The host answered 500: oh. It is not asked again, because its configuration does not allow that (`retries`).',
      });
  });

  it('asks again what was not taken, however it is configured', async () => {
    const { name } = await agent({ config: { retries: false } });
    host.script(text(503), json(200, 'done'));
    const task = await ask(name, 1);
    expect(await ledger(task.id)).toEqual(['released', 'completed']);
    const { name: nowhere } = await agent({ endpoint: 'http://127.0.0.1:1', config: { retries: false } });
    const failed = await ask(nowhere, 1, { max_attempts: 1 });
    expect(failed.error).toMatchObject({ code: 'upstream_unavailable', retryable: true });
  });

  it('gives up on an agent that does not answer in time, or says too much', async () => {
    const { name } = await agent({ config: { timeout_seconds: 1, max_response_bytes: 10 } });
    host.script((answer) => answer.writeHead(200).write('half'));
    expect((await ask(name, 1)).error).toMatchObject({
      code: 'upstream_unavailable',
      message: expect.stringContaining('The agent did not answer within 1 seconds.'),
    });
    host.script(text(200, '12345678901'));
    expect((await ask(name, 1)).error).toMatchObject({ code: 'output_too_large' });
    host.script(text(200, '1234567890'));
    expect((await ask(name, 1)).output).toMatchObject({ output: '1234567890' });
  });

  it.each([
    ['text', 'text/plain', (piece: string) => piece],
    ['events', 'text/event-stream', (piece: string) => `data: ${piece}\n\n`],
  ])('hands an answer that is %s on while it comes, and keeps all of it', async (_, type, written) => {
    const { name } = await agent();
    const begun = Promise.withResolvers<ServerResponse>();
    host.script((answer) => begun.resolve(answer.writeHead(200, { 'content-type': type })));
    const { id } = await client.submit('agent.run', { agent: name, input: 1 });
    const authorization = `Bearer ${client.token}`;
    const reader = await readEvents(`${world.url}/api/v1/tasks/${id}/events`, { authorization });
    const answer = await begun.promise;
    answer.write(written('one '));
    await reader.until('the first piece', ({ event, data }) => event === 'output' && data.text === 'one ');
    answer.end(written('two'));
    expect(await reader.ended).toMatchObject({ status: 'completed', output: { output: 'one two' } });
    expect(reader.text()).toBe('one two');
  });

  it('tells nobody the secrets that the host sends back', async () => {
    const { name } = await agent({
      secrets: { token: SECRET },
      config: { request: { headers: { 'x-token': '${{ secrets.token }}' } } },
    });
    const echo =
      (status: number): Reaction =>
      (answer, { headers }) =>
        json(status, { got: headers['x-token'] })(answer, undefined as never);
    host.script(echo(200));
    expect((await ask(name, 1)).output).toMatchObject({ output: { got: '***' } });
    host.script(echo(400));
    expect((await ask(name, 1)).error?.message).toBe('The host answered 400: {"got":"***"}');
    const form = new URLSearchParams({ t: SECRET });
    for (const location of [`/?t=${encodeURIComponent(SECRET)}`, `/?${form}`, `/${SECRET}`]) {
      host.script((answer) => answer.writeHead(302, { location }).end());
      const { error } = await ask(name, 1);
      expect(error?.message).toContain('***');
      expect(error?.message).not.toContain('very-secret');
    }
    const headers = await agent({ secrets: { token: SECRET }, config: { response: { output: 'headers["x-by"]' } } });
    host.script(json(200, {}, { 'x-by': `it was ${SECRET}` }));
    expect((await ask(headers.name, 1)).output).toMatchObject({ output: 'it was ***' });
  });

  it('knows the agents of its user and shared ones, by name and by id, and no others', async () => {
    const other = await world.client();
    const theirs = await addAgent(world, { name: 'theirs', userId: other.userId, endpoint: host.url });
    const shared = await addAgent(world, { name: 'shared', endpoint: host.url });
    const off = await agent({ active: false });
    host.script(json(200, 'done'));
    for (const name of ['theirs', theirs, 'nobody', off.name])
      expect(await ask(name, 1)).toMatchObject({ status: 'failed', error: { code: 'agent_not_found' } });
    for (const name of ['shared', shared])
      expect(await ask(name, 1)).toMatchObject({ status: 'completed', output: { agent: { id: shared } } });
    const own = await addAgent(world, { name: 'shared', userId: client.userId, endpoint: host.url });
    expect(await ask('shared', 1)).toMatchObject({ output: { agent: { id: own } } });
  });

  it('asks one that can do what is wanted, and waits where all are busy', async () => {
    const busy = await agent({ capabilities: ['sum'], config: { max_concurrency: 1 } });
    expect(await client.runTask('agent.run', { capability: 'none', input: 1 })).toMatchObject({
      error: { code: 'agent_not_found', message: 'There is no active agent that can none.' },
    });
    let atWork = 0;
    let most = 0;
    host.script((answer) => {
      most = Math.max(most, ++atWork);
      setTimeout(() => {
        atWork--;
        json(200, 'done')(answer, undefined as never);
      }, 30);
    });
    const tasks = await Promise.all(
      [1, 2, 3].map((input) => client.runTask('agent.run', { capability: 'sum', input })),
    );
    for (const task of tasks) expect(task).toMatchObject({ status: 'completed', output: { agent: { id: busy.id } } });
    expect([most, host.asked.length]).toEqual([1, 3]);
  });

  it('names one agent or one capability', async () => {
    for (const input of [{ input: 1 }, { agent: 'a', capability: 'b', input: 1 }]) {
      const { status, body } = await client.request('POST', '/api/v1/tasks', { type: 'agent.run', input });
      expect([status, body.errors]).toEqual([
        422,
        [{ pointer: '#/input', detail: 'name an agent or a capability, one of the two' }],
      ]);
    }
  });
});

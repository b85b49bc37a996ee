import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { POLICIES } from '../../src/api/policy.ts';
import { newId } from '../../src/db/ids.ts';
import { updateUser } from '../support/accounts.ts';
import { API_KEYS, makeKey } from '../support/api-keys.ts';
import { expectProblem } from '../support/problem.ts';
import { spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

interface TaskToken {
  access_token: string;
  token_type: string;
  expires_in: number;
}

const TASKS = '/api/v1/tasks';

describe('a token for one task', () => {
  let world: World;
  let owner: Client;
  let id: string;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    owner = await world.client();
    id = (await owner.submit('echo', { message: 'mine' }, { metadata: { a: 1 } })).id;
  });
  afterAll(() => world.close());

  async function tokenOf(client = owner, task = id, headers: Record<string, string> = {}): Promise<string> {
    const answer = await client.request<TaskToken>('POST', `${TASKS}/${task}/token`, undefined, headers);
    expect(answer.status).toBe(201);
    return answer.body.access_token;
  }
  const asBearer = (token: string) => ({ authorization: `Bearer ${token}` });
  const inHeader = (token: string, path = `${TASKS}/${id}`, method = 'GET') =>
    world.anonymous.request(method, path, undefined, asBearer(token));
  const inQuery = (token: string, path = `${TASKS}/${id}`, headers = {}) =>
    world.anonymous.request('GET', `${path}?access_token=${token}`, undefined, headers);

  it('is good for a quarter of an hour, and not kept by anybody on the way', async () => {
    const { status, headers, body } = await owner.request<TaskToken>('POST', `${TASKS}/${id}/token`);
    expect([status, headers.get('cache-control')]).toEqual([201, 'no-store']);
    expect(body).toEqual({ access_token: expect.any(String), token_type: 'Bearer', expires_in: 900 });
    const claims = JSON.parse(Buffer.from(body.access_token.split('.')[1] ?? '', 'base64url').toString());
    expect(claims.exp - claims.iat).toBe(900);
  });

  it('reads the task in the header and in the query, in any letter case of its id', async () => {
    const token = await tokenOf();
    for (const path of [`${TASKS}/${id}`, `${TASKS}/${id.toUpperCase()}`])
      for (const ask of [inHeader, inQuery]) {
        const { status, body } = await ask(token, path);
        expect([status, body.id, body.input, body.metadata]).toEqual([200, id, { message: 'mine' }, { a: 1 }]);
      }
    for (const ask of [inHeader, inQuery]) expect((await ask(token, `${TASKS}/${id}/attempts`)).status).toBe(200);
  });

  it('opens nothing else: no other route, and no other task of the same owner', async () => {
    const token = await tokenOf();
    const other = (await owner.submit('echo', { message: 'also mine' })).id;
    for (const path of [`${TASKS}/${other}`, `${TASKS}/${other}/attempts`])
      for (const ask of [inHeader, inQuery]) expectProblem(await ask(token, path), 'not_found');
    for (const route of Object.keys(POLICIES)) {
      const [method = '', pattern = ''] = route.split(' ');
      if (POLICIES[route] === 'public' || POLICIES[route] === 'docs') continue;
      if (method === 'GET' && pattern.startsWith(`${TASKS}/:id`) && POLICIES[route] === 'tasks:read') continue;
      const path = pattern.replace(/:.*:\w+|:\w+/, id);
      expectProblem(await inHeader(token, path, method), 'invalid_token');
      if (method === 'GET') expectProblem(await inQuery(token, path), 'unauthorized');
    }
    const cookie = { cookie: `sutazai_dashboard=${token}` };
    expect((await world.anonymous.request('GET', '/admin/queues/api/queues', undefined, cookie)).status).toBe(401);
    expect(await owner.request('GET', `${TASKS}/${id}`)).toMatchObject({ status: 200, body: { attempt: 0 } });
  });

  it('is the only kind that is taken from the query, and only alone', async () => {
    const token = await tokenOf();
    const { key } = await makeKey(owner);
    for (const wrong of [owner.token ?? '', key, `${token}x`, '']) expectProblem(await inQuery(wrong), 'invalid_token');
    expectProblem(await inQuery(token, undefined, asBearer(token)), 'bad_request');
    expectProblem(await inQuery(token, undefined, { 'x-api-key': key }), 'bad_request');
    expectProblem(await inQuery(`${token}&access_token=${token}`), 'bad_request');
    expect((await inHeader(token)).status).toBe(200);
    expectProblem(await owner.request('GET', `${TASKS}?access_token=${token}`), 'validation_failed');
  });

  it('is not given for a task of somebody else, nor by a token for one task', async () => {
    const other = await world.client();
    const answers = [id, '01980000-0000-7000-8000-000000000000', 'x'].map((task) =>
      other.request('POST', `${TASKS}/${task}/token`),
    );
    for (const answer of await Promise.all(answers)) expectProblem(answer, 'not_found');
    expectProblem(await inHeader(await tokenOf(), `${TASKS}/${id}/token`, 'POST'), 'invalid_token');
  });

  it('shows no more of the task than whoever made it may see', async () => {
    const operator = await inQuery(await tokenOf(await world.client('operator')));
    expect([operator.status, operator.body.input, operator.body.metadata]).toEqual([200, null, null]);
    const admin = await world.client('admin');
    expect((await inQuery(await tokenOf(admin))).body.input).toEqual({ message: 'mine' });
    const { key } = await makeKey(admin, { scopes: ['tasks:read', 'tasks:read:any'] });
    const made = await tokenOf(world.anonymous, id, { 'x-api-key': key });
    expect((await inQuery(made)).body.input).toBeNull();
  });

  it.each<[string, (maker: Client, keyId: string) => Promise<unknown>]>([
    ['is switched off', (maker) => updateUser(world.db, maker.username, { is_active: false })],
    ['gets another role', (maker) => updateUser(world.db, maker.username, { role: 'viewer' })],
    [
      'logs out, or revokes the key',
      async (maker, keyId) => {
        await maker.request('DELETE', `${API_KEYS}/${keyId}`);
        await maker.request('POST', '/api/v1/auth/logout');
      },
    ],
  ])('ends within a second when whoever made it %s', async (_, end) => {
    const maker = await world.client();
    const task = (await maker.submit('echo', { message: 'x' })).id;
    const { key, id: keyId } = await makeKey(maker);
    const tokens = [await tokenOf(maker, task), await tokenOf(world.anonymous, task, { 'x-api-key': key })];
    const statuses = () => Promise.all(tokens.map(async (token) => (await inQuery(token, `${TASKS}/${task}`)).status));
    expect(await statuses()).toEqual([200, 200]);
    await end(maker, keyId);
    await expect.poll(statuses, { timeout: 1000, interval: 20 }).toEqual([401, 401]);
  });

  it('is in no line of the log when it stands in a URL, and in no problem', async () => {
    const token = await tokenOf();
    const api = spawnSutazai(['api'], { ...world.env, LOG_LEVEL: 'trace' });
    const [, url] = await until('it is up', () => /is up at (\S+)/.exec(api.output()));
    const path = `${TASKS}/${id}?access_token=${token}`;
    expect((await fetch(url + path)).status).toBe(200);
    const refused = await fetch(`${url}${TASKS}/${newId()}?access_token=${token}`);
    expect([refused.status, await refused.text()]).toEqual([404, expect.not.stringContaining('access_token')]);
    await until('both are logged', () => (api.output().match(/"request"/g) ?? []).length >= 2);
    expect(await api.kill('SIGTERM')).toBe(0);
    for (const part of token.split('.')) expect(api.output()).not.toContain(part);
    expect(api.output()).toContain(id);
  });
});

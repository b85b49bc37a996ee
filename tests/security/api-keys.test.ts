import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import { API_KEYS, askWithKey, makeKey, type ShownKey } from '../support/api-keys.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const ME = ['GET', '/api/v1/auth/me'] as const;
const ECHO = { type: 'echo', input: { message: 'hi' } };

describe('API keys', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    client = await world.client();
  });
  afterAll(() => world.close());

  const ask = <T = Record<string, unknown>>(
    key: string,
    what: readonly [string, string, unknown?],
    headers?: Record<string, string>,
  ) => askWithKey<T>(world.anonymous, key, what, headers);

  it('are shown once, in the answer that makes them, and lists show their beginning', async () => {
    const owner = await world.client();
    const answer = await owner.request<ShownKey>('POST', API_KEYS, { name: ' nightly ' });
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([201, 'no-store']);
    const { key, ...shown } = answer.body;
    expect(key).toMatch(/^sk_[A-Za-z0-9_-]{43}$/);
    expect(shown).toEqual({
      id: expect.any(String),
      name: 'nightly',
      prefix: key.slice(0, 9),
      scopes: ['*'],
      task_types: null,
      priority_ceiling: null,
      created_at: expect.any(String),
      expires_at: null,
      last_used_at: null,
    });
    const second = await makeKey(owner);
    const list = await owner.request<{ data: ShownKey[]; next_cursor: string }>('GET', `${API_KEYS}?limit=1`);
    expect(list.body.data.map(({ id }) => id)).toEqual([second.id]);
    const rest = await owner.request('GET', `${API_KEYS}?cursor=${list.body.next_cursor}`);
    expect(rest.body).toEqual({ data: [shown], next_cursor: null });
  });

  it('S15: leave nothing in the database that opens anything', async () => {
    const { key, id } = await makeKey(client);
    const row = await world.db.selectFrom('api_keys').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    expect(row.key_hash).toHaveLength(32);
    expect(JSON.stringify(row)).not.toContain(key.slice(9));
    for (const stored of [row.key_hash.toString('base64url'), row.key_hash.toString('hex'), row.prefix, row.id])
      for (const text of [stored, `sk_${stored}`.slice(0, 46)]) expectProblem(await ask(text, ME), 'invalid_token');
  });

  it('open by either header, and by both where they say the same', async () => {
    const { key } = await makeKey(client);
    const ways: Array<Record<string, string>> = [
      { authorization: `Bearer ${key}` },
      { authorization: `bearer ${key}` },
      { 'x-api-key': key },
      { authorization: `Bearer ${key}`, 'x-api-key': key },
    ];
    for (const headers of ways) {
      const { status, body } = await ask(key, ME, headers);
      expect([status, body.username]).toEqual([200, client.username]);
    }
  });

  it.each<[string, Record<string, string>]>([
    ['an unknown key', { authorization: `Bearer sk_${'A'.repeat(43)}` }],
    ['a short one', { authorization: 'Bearer sk_' }],
    ['an empty one', { 'x-api-key': '' }],
    ['SQL', { 'x-api-key': "sk_' or 1=1 --" }],
    ['a long one', { 'x-api-key': `sk_${'A'.repeat(8_000)}` }],
    ['two', { 'x-api-key': `sk_${'A'.repeat(43)}, sk_${'B'.repeat(43)}` }],
  ])('do not open with %s', async (_, headers) => {
    const answer = await ask('', ME, headers);
    expectProblem(answer, 'invalid_token');
    expect(answer.headers.get('www-authenticate')).toContain('Bearer');
  });

  it('do not open behind another scheme, in the query, or in the place of a token, nor a token in theirs', async () => {
    const { key } = await makeKey(client);
    const { token = '' } = client;
    const wrong: Array<Record<string, string>> = [
      { authorization: `Basic ${key}` },
      { authorization: key },
      { 'x-api-key': token },
    ];
    for (const headers of wrong) expect((await ask(key, ME, headers)).status).toBe(401);
    for (const name of ['api_key', 'key', 'access_token'])
      expect((await ask(key, ['GET', `/api/v1/auth/me?${name}=${key}`], {})).status).toBe(401);
    const cookie = { cookie: `sutazai_dashboard=${key}` };
    expectProblem(await ask(key, ['GET', '/admin/queues/api/queues'], cookie), 'unauthorized');
  });

  it('are refused with 400 beside another credential, because nobody can say which is meant', async () => {
    const [one, other] = [await makeKey(client), await makeKey(client)];
    for (const authorization of [`Bearer ${other.key}`, `Bearer ${client.token}`, 'Basic x', ''])
      expectProblem(await ask('', ME, { authorization, 'x-api-key': one.key }), 'bad_request');
  });

  it('do what their scopes name and no more', async () => {
    const { key } = await makeKey(client, { scopes: ['tasks:read', 'self:read'] });
    expect((await ask(key, ['GET', '/api/v1/tasks'])).status).toBe(200);
    const me = await ask<{ permissions: string[] }>(key, ME);
    expect(me.body.permissions.sort()).toEqual(['self:read', 'tasks:read']);
    for (const what of [
      ['POST', '/api/v1/tasks', ECHO],
      ['GET', '/api/v1/models'],
      ['GET', '/api/v1/audit'],
    ] as const) {
      const problem = expectProblem(await ask(key, what), 'forbidden');
      expect(problem.detail).toContain('This API key');
    }
  });

  it('never do more than their owner, also when that becomes less later', async () => {
    const admin = await world.client('admin');
    const { key } = await makeKey(admin, { scopes: ['audit:read', 'tasks:create'] });
    const all = await makeKey(admin);
    for (const one of [key, all.key]) expect((await ask(one, ['GET', '/api/v1/audit'])).status).toBe(200);
    await world.db.updateTable('users').set({ role: 'user' }).where('id', '=', admin.userId).execute();
    for (const one of [key, all.key]) {
      await expect.poll(async () => (await ask(one, ['GET', '/api/v1/audit'])).status).toBe(403);
      expect((await ask(one, ['POST', '/api/v1/tasks', ECHO])).status).toBe(202);
    }
  });

  it('touch neither keys, sessions nor passwords of their owner, whatever their scopes', async () => {
    const { key, id } = await makeKey(client, { scopes: ['*', 'self:write'] });
    expectProblem(await ask(key, ['POST', API_KEYS, { name: 'more' }]), 'forbidden');
    expectProblem(await ask(key, ['DELETE', `${API_KEYS}/${id}`]), 'forbidden');
    expectProblem(await ask(key, ['POST', '/api/v1/auth/logout']), 'forbidden');
    expect((await ask(key, ['GET', API_KEYS])).status).toBe(200);
  });

  it('submit only their task types, also in a batch and by retrying', async () => {
    const { key } = await makeKey(client, { task_types: ['echo'] });
    const chat = { type: 'chat', input: { messages: [{ role: 'user', content: 'hi' }] } };
    expect((await ask(key, ['POST', '/api/v1/tasks', ECHO])).status).toBe(202);
    const one = expectProblem(await ask(key, ['POST', '/api/v1/tasks', chat]), 'forbidden');
    expect(pointersOf(one)).toEqual(['#/type']);
    const batch = await ask(key, ['POST', '/api/v1/tasks/batch', { tasks: [ECHO, chat, chat] }]);
    expect(pointersOf(expectProblem(batch, 'forbidden'))).toEqual(['#/tasks/1/type', '#/tasks/2/type']);
    const { id } = await client.submit('chat', chat.input);
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
    expectProblem(await ask(key, ['POST', `/api/v1/tasks/${id}/retry`]), 'forbidden');
    expect((await client.request('POST', `/api/v1/tasks/${id}/retry`)).status).toBe(202);
  });

  it('submit with no priority before their ceiling, and with the ceiling where it is behind the usual one', async () => {
    const [late, early] = [
      await makeKey(client, { priority_ceiling: 7 }),
      await makeKey(client, { priority_ceiling: 3 }),
    ];
    const submit = (key: string, priority?: number) =>
      ask<{ priority: number }>(key, ['POST', '/api/v1/tasks', { ...ECHO, priority }]);
    for (const [{ key }, priority, stored] of [
      [late, undefined, 7],
      [late, 7, 7],
      [late, 10, 10],
      [early, undefined, 5],
      [early, 3, 3],
    ] as const)
      expect((await submit(key, priority)).body.priority).toBe(stored);
    for (const [{ key }, priority] of [
      [late, 6],
      [late, 1],
      [early, 2],
    ] as const)
      expect(pointersOf(expectProblem(await submit(key, priority), 'forbidden'))).toEqual(['#/priority']);
  });

  it.each([
    ['no name', { name: '  ' }, '#/name'],
    ['a long name', { name: 'x'.repeat(101) }, '#/name'],
    ['no scope', { scopes: [] }, '#/scopes'],
    ['an unknown scope', { scopes: ['tasks:read', 'root'] }, '#/scopes/1'],
    ['a scope beyond the role', { scopes: ['tasks:read', 'users:write'] }, '#/scopes/1'],
    ['an unknown task type', { task_types: ['echo', 'mine'] }, '#/task_types/1'],
    ['no task type', { task_types: [] }, '#/task_types'],
    ['priority 0', { priority_ceiling: 0 }, '#/priority_ceiling'],
    ['priority 11', { priority_ceiling: 11 }, '#/priority_ceiling'],
    ['half a priority', { priority_ceiling: 1.5 }, '#/priority_ceiling'],
    ['an end in the past', { expires_at: '2020-01-01T00:00:00Z' }, '#/expires_at'],
    ['an end that is no time', { expires_at: 'tomorrow' }, '#/expires_at'],
    ['an owner', { user_id: '01980000-0000-7000-8000-000000000000' }, '#/user_id'],
    ['a key of their choice', { key: `sk_${'A'.repeat(43)}` }, '#/key'],
  ])('S25: are not made with %s', async (_, wrong, pointer) => {
    const answer = await client.request('POST', API_KEYS, { name: 'x', ...wrong });
    expect(pointersOf(expectProblem(answer, 'validation_failed'))).toEqual([pointer]);
  });

  it('S21: of others are not seen, and revoking one answers as if it were not there', async () => {
    const other = await world.client('admin');
    const { id, key } = await makeKey(client);
    const list = await other.request<{ data: unknown[] }>('GET', API_KEYS);
    expect(list.body.data).toEqual([]);
    const answers = await Promise.all(
      [id, '01980000-0000-7000-8000-000000000000', 'x'].map((one) => other.request('DELETE', `${API_KEYS}/${one}`)),
    );
    const details = answers.map((answer) => expectProblem(answer, 'not_found').detail);
    expect(new Set(details).size).toBe(1);
    expect((await ask(key, ME)).status).toBe(200);
  });

  it('stay within 100 an account, also when several are made at once', async () => {
    const owner = await world.client();
    const first = await makeKey(owner);
    const { user_id, name, prefix, scopes } = { ...first, user_id: owner.userId };
    const others = Array.from({ length: 98 }, () => ({
      ...{ id: newId(), user_id, name, prefix, scopes },
      key_hash: randomBytes(32),
    }));
    await world.db.insertInto('api_keys').values(others).execute();
    const answers = await Promise.all(Array.from({ length: 4 }, () => owner.request('POST', API_KEYS, { name: 'x' })));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409]);
    expectProblem(await owner.request('POST', API_KEYS, { name: 'x' }), 'limit_reached');
    await owner.request('DELETE', `${API_KEYS}/${first.id}`);
    expect((await owner.request('POST', API_KEYS, { name: 'x' })).status).toBe(201);
  });

  it('are in the audit log when they are made, revoked and used for what they may not do', async () => {
    const owner = await world.client();
    const { id, key } = await makeKey(owner, { name: 'watched', scopes: ['tasks:read'] });
    await ask(key, ['POST', '/api/v1/tasks', ECHO]);
    await owner.request('DELETE', `${API_KEYS}/${id}`);
    const entries = () =>
      world.db
        .selectFrom('audit_log')
        .select(['action', 'outcome', 'key_id', 'object_id'])
        .where('actor_id', '=', owner.userId)
        .where('action', '!=', 'auth.login')
        .orderBy('action')
        .execute();
    await expect.poll(entries).toEqual([
      { action: 'api_key.create', outcome: 'ok', key_id: null, object_id: id },
      { action: 'api_key.revoke', outcome: 'ok', key_id: null, object_id: id },
      { action: 'auth.forbidden', outcome: 'refused', key_id: id, object_id: 'POST /api/v1/tasks' },
    ]);
    const all = JSON.stringify(await world.db.selectFrom('audit_log').selectAll().execute());
    expect(all).not.toContain(key.slice(9));
  });
});

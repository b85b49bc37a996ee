import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditRow } from '../../src/db/audit.ts';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { until } from '../support/until.ts';
import {
  ADMIN_PASSWORD,
  type Answer,
  anonymousClient,
  type Client,
  createWorld,
  type World,
} from '../support/world.ts';

interface User {
  id: string;
  username: string;
  role: string;
  is_active: boolean;
}
const USERS = '/api/v1/users';

describe('accounts, for an administrator', () => {
  let world: World;
  let admin: Client;
  beforeAll(async () => {
    world = await createWorld();
    admin = await world.client('admin');
  });
  afterAll(() => world.close());

  const patch = (id: string, body: unknown, client = admin) => client.request<User>('PATCH', `${USERS}/${id}`, body);
  const statusOf = async (client: Client) => (await client.request('GET', '/api/v1/auth/me')).status;
  const login = (username: string) =>
    world.anonymous.request<{ access_token: string; refresh_token: string; user: User }>('POST', '/api/v1/auth/login', {
      username,
      password: ADMIN_PASSWORD,
    });
  const entries = async (objectId: string) =>
    (await admin.request<{ data: AuditRow[] }>('GET', `/api/v1/audit?object_id=${objectId}`)).body.data;

  it('are listed newest first, by pages, by role, by state and by a part of name or address', async () => {
    const made = [await world.client('viewer'), await world.client('viewer'), await world.client('viewer')];
    await patch(made[0]?.userId ?? '', { is_active: false });
    const list = async (query: string) =>
      (await admin.request<{ data: User[]; next_cursor: string | null }>('GET', `${USERS}?${query}`)).body;
    const ids = made.map(({ userId }) => userId).reverse();
    const page = await list('role=viewer&limit=2');
    expect(page.data.map(({ id }) => id)).toEqual(ids.slice(0, 2));
    expect((await list(`role=viewer&limit=2&cursor=${page.next_cursor}`)).data.map(({ id }) => id)).toEqual([ids[2]]);
    expect((await list('role=viewer&is_active=false')).data.map(({ id }) => id)).toEqual([ids[2]]);
    const [first] = made;
    for (const part of [first?.username.slice(1, 9).toUpperCase(), `${first?.username}@example`])
      expect((await list(`q=${part}`)).data.map(({ id }) => id)).toEqual([first?.userId]);
    expect((await list('q=%25')).data).toEqual([]);
    expect(JSON.stringify(page)).not.toMatch(/password|hash|\$2/);
  });

  it('are read one by one; what is not there answers 404', async () => {
    const { userId, username } = await world.client();
    expect((await admin.request(`GET`, `${USERS}/${userId}`)).body).toMatchObject({ id: userId, username });
    for (const id of ['01980000-0000-7000-8000-000000000000', 'x', `${userId}x`])
      for (const method of ['GET', 'PATCH', 'DELETE'])
        expectProblem(
          await admin.request(method, `${USERS}/${id}`, method === 'PATCH' ? { role: 'user' } : undefined),
          'not_found',
        );
  });

  it('S13, S14: lose their sessions at once with another role, and have it after the next login', async () => {
    const client = await world.client('operator');
    const before = (await login(client.username)).body;
    const other = anonymousClient((await world.join('api')).url as string, client.token);
    expect(await statusOf(other)).toBe(200);
    expect((await patch(client.userId, { role: 'viewer' })).body).toMatchObject({ role: 'viewer', is_active: true });
    expect(await statusOf(client)).toBe(401);
    await until('the other process knows', async () => (await statusOf(other)) === 401, { withinMs: 1_000 });
    const { refresh_token } = before;
    expectProblem(await world.anonymous.request('POST', '/api/v1/auth/refresh', { refresh_token }), 'invalid_token');
    expect((await login(client.username)).body.user.role).toBe('viewer');
    expect((await entries(client.userId))[0]).toMatchObject({
      action: 'user.update',
      actor_id: admin.userId,
      details: { role: { from: 'operator', to: 'viewer' } },
    });
  });

  it('S13, S14: that are switched off cannot do anything any more, until they are switched on', async () => {
    const client = await world.client();
    await patch(client.userId, { is_active: false });
    expect(await statusOf(client)).toBe(401);
    expectProblem(await login(client.username), 'invalid_credentials');
    await patch(client.userId, { is_active: true });
    expect((await login(client.username)).status).toBe(200);
  });

  it('keep their sessions when nothing changes', async () => {
    const client = await world.client();
    const before = (await entries(client.userId)).length;
    expect((await patch(client.userId, { role: 'user', is_active: true })).status).toBe(200);
    expect([await statusOf(client), (await entries(client.userId)).length]).toEqual([200, before]);
  });

  it('have limits of their own, which hold at once, one by one, and end no session', async () => {
    const client = await world.client();
    const none = { waiting_tasks: null, running_tasks: null, tokens_per_day: null, requests_per_minute: null };
    expect((await admin.request('GET', `${USERS}/${client.userId}`)).body.limits).toEqual(none);
    await patch(client.userId, { limits: { waiting_tasks: 1, tokens_per_day: 500 } });
    const { body } = await patch(client.userId, { limits: { tokens_per_day: null, running_tasks: 0 } });
    const limits = { ...none, waiting_tasks: 1, running_tasks: 0 };
    expect(body).toMatchObject({ limits, role: 'user' });
    const listed = await admin.request<{ data: User[] }>('GET', `${USERS}?q=${client.username}`);
    expect(listed.body.data).toMatchObject([{ limits }]);
    await client.submit('echo', { message: 'x' }, { delay_seconds: 600 });
    const submission = { type: 'echo', input: { message: 'x' }, delay_seconds: 600 };
    expectProblem(await client.request('POST', '/api/v1/tasks', submission), 'quota-exceeded');
    expect((await entries(client.userId)).map(({ details }) => details).slice(0, 2)).toEqual([
      { tokens_per_day: { from: 500, to: null }, running_tasks: { from: null, to: 0 } },
      { tokens_per_day: { from: null, to: 500 }, waiting_tasks: { from: null, to: 1 } },
    ]);
  });

  it.each([
    ['a limit below zero', { limits: { waiting_tasks: -1 } }, '#/limits/waiting_tasks'],
    ['half a task', { limits: { running_tasks: 0.5 } }, '#/limits/running_tasks'],
    ['a limit that no column holds', { limits: { tokens_per_day: 2 ** 31 } }, '#/limits/tokens_per_day'],
    ['an unknown limit', { limits: { cpu: 1 } }, '#/limits/cpu'],
    ['nothing', {}, '#'],
    ['an unknown role', { role: 'root' }, '#/role'],
    ['a state in words', { is_active: 'no' }, '#/is_active'],
    ['a password', { password: 'x'.repeat(20) }, '#/password'],
    ['an id', { id: '01980000-0000-7000-8000-000000000000' }, '#/id'],
  ])('are not changed by %s', async (_, body, pointer) => {
    const { userId } = await world.client();
    expect(pointersOf(expectProblem(await patch(userId, body), 'validation_failed'))).toEqual([pointer]);
  });

  it.each(['viewer', 'user', 'operator'] as const)('S22: are not there for the role %s', async (role) => {
    const client = await world.client(role);
    expectProblem(await patch(client.userId, { role: 'admin' }, client), 'forbidden');
    for (const [method, path] of [
      ['GET', USERS],
      ['GET', `${USERS}/${client.userId}`],
      ['DELETE', `${USERS}/${client.userId}`],
    ] as const)
      expectProblem(await client.request(method, path), 'forbidden');
  });

  it('cannot take away the last administrator, not even where two take away each other at once', async () => {
    const one = await createWorld({ mode: 'api' });
    const login = { username: 'admin', password: ADMIN_PASSWORD };
    const { body } = await one.anonymous.request<{ access_token: string; user: User }>(
      'POST',
      '/api/v1/auth/login',
      login,
    );
    const root = { ...anonymousClient(one.url, body.access_token), userId: body.user.id };
    const second = await one.client('admin');
    const demote = (by: Client, whom: Client) => by.request('PATCH', `${USERS}/${whom.userId}`, { role: 'user' });
    const waiting = async () => {
      const { rows } = await sql`select 1 from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`.execute(one.db);
      return rows.length === 2;
    };
    // Both requests have begun, and stand before the same rows, when neither has changed anything yet.
    const [held, answers] = await one.db.transaction().execute(async (trx) => {
      await trx.selectFrom('users').select('id').orderBy('id').forUpdate().execute();
      const both = [demote(root, second), demote(second, root)];
      return [await until('both wait', waiting), both] as const;
    });
    expect(held).toBe(true);
    const [demoted, refused] = (await Promise.all(answers)).sort((a, b) => a.status - b.status);
    expect(demoted?.status).toBe(200);
    expectProblem(refused as Answer, 'last_administrator');

    const last = demoted?.body.id === root.userId ? second : root;
    for (const [method, change] of [
      ['PATCH', { role: 'operator' }],
      ['PATCH', { is_active: false }],
      ['DELETE', undefined],
    ] as const)
      expectProblem(await last.request(method, `${USERS}/${last.userId}`, change), 'last_administrator');
    const admins = one.db.selectFrom('users').select('id').where('role', '=', 'admin').where('is_active', '=', true);
    expect(await admins.execute()).toEqual([{ id: last.userId }]);
    await one.close();
  });
});

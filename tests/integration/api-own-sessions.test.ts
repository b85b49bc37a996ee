import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

interface Session {
  id: string;
  current: boolean;
  user_agent: string | null;
  address: string | null;
  last_used_at: string;
}
const SESSIONS = '/api/v1/auth/sessions';
const NEXT = 'another long password';

describe('the sessions of an account', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
  });
  afterAll(() => world.close());

  const login = (username: string, password = ADMIN_PASSWORD, agent = 'a test') =>
    world.anonymous.request<{ access_token: string; refresh_token: string }>(
      'POST',
      '/api/v1/auth/login',
      { username, password },
      { 'user-agent': agent },
    );
  const again = async (client: Client, agent?: string) => {
    const { body } = await login(client.username, ADMIN_PASSWORD, agent);
    return { ...anonymousClient(world.url, body.access_token), refreshToken: body.refresh_token };
  };
  const list = async (client: Client) =>
    (await client.request<{ data: Session[]; next_cursor: string | null }>('GET', SESSIONS)).body.data;
  const statusOf = async (client: Client) => (await client.request('GET', '/api/v1/auth/me')).status;
  const refreshed = (refresh_token: string) =>
    world.anonymous.request('POST', '/api/v1/auth/refresh', { refresh_token });

  it('are listed with device, address and last use, newest first, and which one is asking', async () => {
    const first = await world.client();
    const second = await again(first, 'Firefox on a phone');
    const sessions = await list(second);
    expect(sessions).toEqual([
      {
        id: expect.any(String),
        current: true,
        user_agent: 'Firefox on a phone',
        address: '127.0.0.1',
        created_at: expect.any(String),
        last_used_at: expect.any(String),
        expires_at: expect.any(String),
      },
      expect.objectContaining({ current: false }),
    ]);
    expect((await list(first)).map(({ current }) => current)).toEqual([false, true]);
    await refreshed(second.refreshToken);
    const used = (await list(first))[0]?.last_used_at ?? '';
    expect(used > (sessions[0]?.last_used_at ?? '')).toBe(true);
  });

  it('are listed by pages, and without those that have ended', async () => {
    const client = await world.client();
    const others = [await again(client), await again(client), await again(client)];
    await others[1]?.request('POST', '/api/v1/auth/logout');
    const page = await client.request<{ data: Session[]; next_cursor: string }>('GET', `${SESSIONS}?limit=2`);
    const rest = await client.request<{ data: Session[]; next_cursor: null }>(
      'GET',
      `${SESSIONS}?limit=2&cursor=${page.body.next_cursor}`,
    );
    expect([page.body.data.length, rest.body.data.length, rest.body.next_cursor]).toEqual([2, 1, null]);
    expect(await list(await world.client())).toHaveLength(1);
  });

  it('end one by one, at once, with access and refresh token', async () => {
    const client = await world.client();
    const other = await again(client);
    const id = (await list(client)).find(({ current }) => !current)?.id;
    expect((await client.request('DELETE', `${SESSIONS}/${id}`)).status).toBe(204);
    expect([await statusOf(client), await statusOf(other)]).toEqual([200, 401]);
    expectProblem(await refreshed(other.refreshToken), 'invalid_token');
    expectProblem(await client.request('DELETE', `${SESSIONS}/${id}`), 'not_found');
  });

  it('S21: of somebody else are not there, not even for an admin', async () => {
    const victim = await world.client();
    const id = (await list(victim))[0]?.id;
    for (const client of [await world.client(), await world.client('admin')]) {
      const foreign = expectProblem(await client.request('DELETE', `${SESSIONS}/${id}`), 'not_found');
      const unknown = expectProblem(
        await client.request('DELETE', `${SESSIONS}/01980000-0000-7000-8000-000000000000`),
        'not_found',
      );
      expect(foreign.detail).toBe(unknown.detail);
    }
    expectProblem(await victim.request('DELETE', `${SESSIONS}/nothing`), 'not_found');
    expect(await statusOf(victim)).toBe(200);
  });

  it('end everywhere at once, in every process, and those of others do not', async () => {
    const client = await world.client();
    const bystander = await world.client();
    const other = await again(client);
    const elsewhere = anonymousClient((await world.join('api')).url as string, other.token);
    expect(await statusOf(elsewhere)).toBe(200);
    expect((await client.request('DELETE', SESSIONS)).status).toBe(204);
    expect([await statusOf(client), await statusOf(other), await statusOf(bystander)]).toEqual([401, 401, 200]);
    await until('the other process knows', async () => (await statusOf(elsewhere)) === 401, { withinMs: 1_000 });
    expectProblem(await refreshed(other.refreshToken), 'invalid_token');
  });

  const change = (client: Client, body: unknown) => client.request('POST', '/api/v1/auth/password', body);

  it('S13: end with a new password, but for the one that changed it; the old password is dead', async () => {
    const client = await world.client();
    const other = await again(client);
    const wanted = { current_password: ADMIN_PASSWORD, new_password: NEXT };
    expect((await change(client, wanted)).status).toBe(204);
    expect([await statusOf(client), await statusOf(other)]).toEqual([200, 401]);
    expectProblem(await refreshed(other.refreshToken), 'invalid_token');
    expectProblem(await login(client.username), 'invalid_credentials');
    expect((await login(client.username, NEXT)).status).toBe(200);
    const entry = await world.db
      .selectFrom('audit_log')
      .selectAll()
      .where('action', '=', 'auth.password')
      .where('actor_id', '=', client.userId)
      .executeTakeFirstOrThrow();
    expect(entry).toMatchObject({ outcome: 'ok', details: { sessions_ended: 1 }, object_id: client.userId });
  });

  it.each([
    ['a wrong present password', { current_password: 'wrong', new_password: NEXT }, '#/current_password'],
    ['none', { new_password: NEXT }, '#/current_password'],
    ['one that is too short', { current_password: ADMIN_PASSWORD, new_password: 'x'.repeat(11) }, '#/new_password'],
    ['73 bytes', { current_password: ADMIN_PASSWORD, new_password: 'x'.repeat(73) }, '#/new_password'],
    ['the same', { current_password: ADMIN_PASSWORD, new_password: ADMIN_PASSWORD }, '#/new_password'],
    ['a role beside it', { current_password: ADMIN_PASSWORD, new_password: NEXT, role: 'admin' }, '#/role'],
  ])('stay as they are when the new password comes with %s', async (_, body, pointer) => {
    const client = await world.client();
    const other = await again(client);
    expect(pointersOf(expectProblem(await change(client, body), 'validation_failed'))).toEqual([pointer]);
    expect([await statusOf(other), (await login(client.username)).status]).toEqual([200, 200]);
  });

  it('are not opened twice by two password changes at once: the second one does not fit any more', async () => {
    const client = await world.client();
    const answers = await Promise.all(
      [NEXT, `${NEXT}!`].map((new_password) => change(client, { current_password: ADMIN_PASSWORD, new_password })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 422]);
  });
});

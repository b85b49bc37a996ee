import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { anonymousClient, type Client, createWorld, type World } from '../support/world.ts';

interface Invitation {
  id: string;
  token: string;
  email: string | null;
  role: string;
  used_by: string | null;
  used_at: string | null;
  expires_at: string;
}
const INVITATIONS = '/api/v1/invitations';
let count = 0;

describe('where registration wants an invitation', () => {
  let world: World;
  let admin: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { REGISTRATION: 'invite' } });
    admin = await world.client('admin');
  });
  afterAll(() => world.close());

  const invite = async (body: object = {}) => {
    const answer = await admin.request<Invitation>('POST', INVITATIONS, body);
    expect(answer.status, JSON.stringify(answer.body)).toBe(201);
    return answer.body;
  };
  const account = (more: object = {}) => ({
    username: `guest${++count}`,
    email: `guest${count}@example.com`,
    password: 'a long enough password',
    ...more,
  });
  const register = (body: object, client: Client = world.anonymous) =>
    client.request('POST', '/api/v1/auth/register', body);
  const read = async (id: string) =>
    (await admin.request<{ data: Invitation[] }>('GET', `${INVITATIONS}?limit=200`)).body.data.find(
      (one) => one.id === id,
    );

  it('an account is made with one, once, in the role that it names', async () => {
    const { id, token, role } = await invite({ role: 'operator' });
    expect(role).toBe('operator');
    const made = await register(account({ invitation: token }));
    expect([made.status, made.body.role]).toEqual([201, 'operator']);
    expect(await read(id)).toMatchObject({ used_by: made.body.id, used_at: expect.any(String) });
    expectProblem(await register(account({ invitation: token })), 'invitation_needed');
  });

  it('exactly one of several who use it at the same moment gets in', async () => {
    const { token } = await invite();
    const answers = await Promise.all(Array.from({ length: 5 }, () => register(account({ invitation: token }))));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 403, 403, 403, 403]);
  });

  it.each([
    ['none', () => ({})],
    ['one that was never given out', () => ({ invitation: `inv_${'x'.repeat(43)}` })],
    ['an empty one', () => ({ invitation: '' })],
    [
      'one that was taken back',
      async () => {
        const { id, token } = await invite();
        expect((await admin.request('DELETE', `${INVITATIONS}/${id}`)).status).toBe(204);
        return { invitation: token };
      },
    ],
    [
      'one that has expired',
      async () => {
        const { id, token } = await invite();
        await world.db
          .updateTable('invitations')
          .set({ expires_at: new Date(0) })
          .where('id', '=', id)
          .execute();
        return { invitation: token };
      },
    ],
    ['one for another address', async () => ({ invitation: (await invite({ email: 'other@example.com' })).token })],
  ])('nobody gets in with %s', async (_, make) => {
    const given = account(await make());
    expectProblem(await register(given), 'invitation_needed');
    expect(await world.db.selectFrom('users').select('id').where('username', '=', given.username).execute()).toEqual(
      [],
    );
  });

  it('an address is compared without letter case, and a name that is taken leaves the invitation good', async () => {
    const { token } = await invite({ email: 'Somebody@Example.com' });
    const given = { invitation: token, email: 'somebody@example.COM' };
    expectProblem(await register(account({ ...given, username: admin.username })), 'already_exists');
    expect((await register(account(given))).status).toBe(201);
  });

  it('what is stored and listed holds no token that could be used', async () => {
    const { id, token } = await invite();
    expect(token).toMatch(/^inv_[\w-]{43}$/);
    const row = await world.db.selectFrom('invitations').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    expect(JSON.stringify(row)).not.toContain(token);
    expect(row.token_hash.toString('latin1')).not.toContain(token.slice(4, 20));
    const listed = await read(id);
    expect(Object.keys(listed ?? {}).sort()).toEqual(
      ['id', 'email', 'role', 'created_by', 'created_at', 'expires_at', 'used_by', 'used_at'].sort(),
    );
    const { rows } = { rows: await world.db.selectFrom('audit_log').selectAll().execute() };
    expect(JSON.stringify(rows)).not.toContain(token);
    expect(rows.find((entry) => entry.object_id === id)).toMatchObject({ action: 'invitation.create' });
  });

  it.each([
    ['an unknown role', { role: 'root' }, '#/role'],
    ['no address', { email: 'nobody' }, '#/email'],
    ['a second of life', { expires_in_seconds: 1 }, '#/expires_in_seconds'],
    ['a year of life', { expires_in_seconds: 365 * 86_400 }, '#/expires_in_seconds'],
    ['a token of its own', { token: 'inv_x' }, '#/token'],
  ])('an invitation with %s is refused', async (_, body, pointer) => {
    expect(pointersOf(expectProblem(await admin.request('POST', INVITATIONS, body), 'validation_failed'))).toEqual([
      pointer,
    ]);
  });

  it('taking back what is not there answers 404', async () => {
    for (const id of ['01980000-0000-7000-8000-000000000000', 'x'])
      expectProblem(await admin.request('DELETE', `${INVITATIONS}/${id}`), 'not_found');
  });

  it('where registration is closed, an invitation opens nothing; where it is open, it gives its role', async () => {
    const [closed, open] = [
      await world.join('api', { REGISTRATION: 'closed' }),
      await world.join('api', { REGISTRATION: 'open' }),
    ];
    const { token } = await invite({ role: 'viewer' });
    const at = (url = '') => anonymousClient(url);
    expectProblem(await register(account({ invitation: token }), at(closed.url)), 'registration_closed');
    expect((await register(account({ invitation: token }), at(open.url))).body.role).toBe('viewer');
    expect((await register(account(), at(open.url))).body.role).toBe('user');
  });
});

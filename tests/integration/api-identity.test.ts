import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem, pointersOf } from '../support/problem.ts';
import { ADMIN_PASSWORD, createWorld, type World } from '../support/world.ts';

const REGISTER = '/api/v1/auth/register';
const LOGIN = '/api/v1/auth/login';
const password = 'a long enough password';
let count = 0;
const account = () => ({ username: `Person.${++count}`, email: `Person.${count}@Example.com`, password });

describe('accounts', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
  });
  afterAll(() => world.close());

  const post = (path: string, body: unknown) => world.anonymous.request('POST', path, body);
  async function registered(given = account()) {
    const answer = await post(REGISTER, given);
    expect(answer.status).toBe(201);
    return given;
  }

  it('are made with 201 and a user without a trace of the password', async () => {
    const given = account();
    const { status, body } = await post(REGISTER, given);
    expect(status).toBe(201);
    expect(body).toEqual({
      id: expect.any(String),
      username: given.username,
      email: given.email,
      role: 'user',
      is_active: true,
      created_at: expect.any(String),
      last_login_at: null,
    });
    const row = await world.db
      .selectFrom('users')
      .selectAll()
      .where('username', '=', given.username)
      .executeTakeFirstOrThrow();
    expect(row.password_hash).toMatch(/^\$2[aby]\$/);
  });

  it.each([
    ['the name', (taken: ReturnType<typeof account>) => ({ ...account(), username: taken.username })],
    ['the name in capitals', (taken) => ({ ...account(), username: taken.username.toUpperCase() })],
    ['the e-mail', (taken) => ({ ...account(), email: taken.email })],
    ['the e-mail in small letters', (taken) => ({ ...account(), email: taken.email.toLowerCase() })],
    ['the e-mail with spaces around', (taken) => ({ ...account(), email: ` ${taken.email} ` })],
  ])('are refused with 409 when %s is taken', async (_, change) => {
    expectProblem(await post(REGISTER, change(await registered())), 'already_exists');
  });

  it('are made once when two ask for the same name at the same time', async () => {
    const given = account();
    const answers = await Promise.all(Array.from({ length: 6 }, () => post(REGISTER, given)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409, 409]);
  });

  it.each([
    ['a role', { role: 'admin' }, '#/role'],
    ['a state', { is_active: true }, '#/is_active'],
    ['an id', { id: '01980000-0000-7000-8000-000000000000' }, '#/id'],
    ['11 letters of password', { password: 'x'.repeat(11) }, '#/password'],
    ['73 bytes of password', { password: 'x'.repeat(73) }, '#/password'],
    ['73 bytes in 19 letters', { password: `${'\u{1f600}'.repeat(18)}x` }, '#/password'],
    ['a name of one letter', { username: 'x' }, '#/username'],
    ['a name with a space', { username: 'a b' }, '#/username'],
    ['a name that is an e-mail address', { username: 'a@example.com' }, '#/username'],
    ['a name in letters that look alike', { username: 'аdmin' }, '#/username'],
    ['no e-mail address', { email: 'nobody' }, '#/email'],
    ['a long e-mail address', { email: `${'x'.repeat(250)}@example.com` }, '#/email'],
  ])('are refused with %s', async (_, wrong, pointer) => {
    const problem = expectProblem(await post(REGISTER, { ...account(), ...wrong }), 'validation_failed');
    expect(pointersOf(problem)).toEqual([pointer]);
    expect(JSON.stringify(problem)).not.toContain(password);
  });

  it('are not made by strangers where registration is closed', async () => {
    const closed = await world.join('api', { REGISTRATION: 'closed' });
    const given = account();
    const answer = await fetch(closed.url + REGISTER, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(given),
    });
    expectProblem({ status: answer.status, headers: answer.headers, body: await answer.json() }, 'registration_closed');
    expectProblem(await post(LOGIN, { username: given.username, password }), 'invalid_credentials');
  });

  it('open by user name and by e-mail, in any letter case', async () => {
    const { username, email } = await registered();
    for (const who of [{ username }, { username: username.toUpperCase() }, { email }, { email: email.toLowerCase() }]) {
      const { status, headers, body } = await post(LOGIN, { ...who, password });
      expect(status).toBe(200);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(body).toEqual({
        access_token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
        token_type: 'Bearer',
        expires_in: 1800,
        refresh_token: expect.any(String),
        refresh_expires_in: 604_800,
        user: expect.objectContaining({ username, email, role: 'user', is_active: true }),
      });
      expect(JSON.stringify(body)).not.toMatch(/password|\$2[aby]\$/);
    }
  });

  it('answer the same to an unknown user, a wrong password, an account that is off and a password that is too long', async () => {
    const known = await registered();
    const off = await registered();
    await world.db.updateTable('users').set({ is_active: false }).where('username', '=', off.username).execute();
    const tries = [
      { username: 'nobody-at-all', password },
      { email: 'nobody@example.com', password },
      { username: known.username, password: `${password}.` },
      { username: known.username, password: '' },
      { username: known.username, password: 'x'.repeat(73) },
      { username: off.username, password },
      { username: `${known.username}' or '1'='1`, password },
    ];
    const seen = new Set<string>();
    for (const one of tries) {
      const answer = await post(LOGIN, one);
      const { request_id: _, ...same } = expectProblem(answer, 'invalid_credentials');
      seen.add(JSON.stringify([same, [...answer.headers.keys()].sort()]));
    }
    expect(seen.size).toBe(1);
  });

  it('S16: do not open to a password that only begins like the right one of 72 bytes', async () => {
    const long = 'éüöäñçàèìòùâ'.repeat(3);
    const { username } = await registered({ ...account(), password: long });
    expect((await post(LOGIN, { username, password: long })).status).toBe(200);
    expectProblem(await post(LOGIN, { username, password: `${long}x` }), 'invalid_credentials');
  });

  it.each([
    ['both names', { username: 'a', email: 'a@b.c', password }],
    ['no name', { password }],
    ['no password', { username: 'a' }],
    ['a further field', { username: 'a', password, remember: true }],
    ['a name that is no text', { username: { $ne: null }, password }],
  ])('refuse a login with %s', async (_, body) => {
    expectProblem(await post(LOGIN, body), 'validation_failed');
  });

  it('show themselves with what they may do', async () => {
    const permissions = async (role: 'viewer' | 'user' | 'operator' | 'admin') => {
      const client = await world.client(role);
      const { status, body } = await client.request('GET', '/api/v1/auth/me');
      expect([status, body.username, body.role]).toEqual([200, client.username, role]);
      expect(body).not.toHaveProperty('password_hash');
      return body.permissions as string[];
    };
    expect((await permissions('viewer')).sort()).toEqual(
      [
        'self:read',
        'self:write',
        'tasks:read',
        'task-types:read',
        'models:read',
        'schedules:read',
        'workflows:read',
        'webhooks:read',
        'agents:read',
        'collections:read',
        'files:read',
        'batches:read',
        'responses:read',
      ].sort(),
    );
    expect(await permissions('user')).toEqual(expect.arrayContaining(['tasks:create', 'tasks:steer']));
    expect(await permissions('operator')).toEqual(expect.arrayContaining(['tasks:read:any', 'queues:read']));
    expect(await permissions('operator')).not.toContain('queues:steer');
    expect(await permissions('admin')).toContain('queues:steer');
  });

  it('show to an API key what that key may do, which is less', async () => {
    const client = await world.client();
    const made = await client.request('POST', '/api/v1/api-keys', { name: 'x', scopes: ['self:read', 'tasks:read'] });
    const headers = { authorization: `Bearer ${made.body.key}` };
    const { body } = await world.anonymous.request('GET', '/api/v1/auth/me', undefined, headers);
    expect([body.username, body.permissions]).toEqual([client.username, ['self:read', 'tasks:read']]);
  });

  it('have one administrator from the start, made once', async () => {
    const again = await world.join('api', { ADMIN_PASSWORD: 'another long password' });
    expect(again.firstAdmin).toBeUndefined();
    const { status, body } = await post(LOGIN, { username: 'admin', password: ADMIN_PASSWORD });
    expect([status, (body.user as { role: string }).role]).toEqual([200, 'admin']);
    const admins = await world.db.selectFrom('users').select('id').where('username', '=', 'admin').execute();
    expect(admins).toHaveLength(1);
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LANES } from '../../src/tasks/lanes.ts';
import { expectProblem } from '../support/problem.ts';
import { rawRequest } from '../support/raw-http.ts';
import { ADMIN_PASSWORD, type Answer, BACKENDS, createWorld, type World } from '../support/world.ts';

interface Queues {
  queues: Array<{ name: string; counts: Record<string, number>; readOnlyMode: boolean; isPaused: boolean }>;
}
const BOARD = '/admin/queues';

describe.each(BACKENDS)('the queue dashboard on %s', (backend) => {
  let world: World;
  let admin: string;
  let operator: string;
  beforeAll(async () => {
    world = await createWorld({ backend });
    admin = cookieOf(await login('admin'));
    operator = cookieOf(await login((await world.client('operator')).username));
  });
  afterAll(() => world.close());

  const ask = (method: string, path: string, headers: Record<string, string> = {}, chunks: string[] = []) =>
    rawRequest(world.url, { method, path, headers, chunks });
  const ownOrigin = () => ({ origin: world.url });
  function login(name: string, password = ADMIN_PASSWORD, headers: Record<string, string> = ownOrigin()) {
    const form = new URLSearchParams({ login: name, password }).toString();
    return ask('POST', '/admin/login', { 'content-type': 'application/x-www-form-urlencoded', ...headers }, [form]);
  }
  const cookieOf = (answer: Answer<string>) => (answer.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  const queues = async (cookie: string) =>
    (JSON.parse((await ask('GET', `${BOARD}/api/queues`, { cookie })).body) as Queues).queues;

  it.each([
    ...[
      '/admin',
      '/admin/',
      '//admin/queues',
      '/admin//queues',
      '/admin/queues/',
      '/admin/queues//',
      '/%61dmin/queues',
    ],
    ...['/admin%2Fqueues', '/admin/%71ueues', '/ADMIN/queues', '/Admin/Queues', '/admin/queues;x', '/admin;x/queues'],
    ...[
      '/admin/queues/api/queues',
      '/admin/queues//api/queues',
      '/admin/queues/api/queues/',
      '/admin/queues/%61pi/queues',
    ],
    ...['/admin/./queues/api/queues', '/x/../admin/queues/api/queues', '/admin/login/../queues/api/queues'],
    ...['/admin/queues/api/queues?x=/admin/login', '/admin/queues/api/queues#', '/admin\\queues', '/admin/queues%00'],
    ...['//admin', '/admin//x', '/%61dmin', '/admin%2Fx', '/ADMIN', '/admin;x', '/admin/queues/queue/system'],
    ...['/admin/queues/static/js/main.js', '/admin/queues/api/redis/stats', '/api/queues', '/queues/api/queues'],
  ])('S29: shows nothing to strangers at %s', async (path) => {
    const browser = { accept: 'text/html' };
    const override = {
      'x-http-method-override': 'GET',
      'x-original-url': '/admin/login',
      'x-rewrite-url': '/admin/login',
    };
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'get'])
      for (const headers of [{}, browser, override]) {
        const { status, headers: given, body } = await ask(method, path, headers);
        expect([303, 400, 401, 404, 405], `${method} ${status}`).toContain(status);
        if (status === 303) expect(given.get('location')).toBe('/admin/login');
        expect(body).not.toMatch(/"queues"|Bull/);
      }
  });

  it('S29: shows nothing to a token of the API, to a wrong cookie, or to an empty one', async () => {
    const { token = '' } = await world.client('admin');
    const wrong: Array<Record<string, string>> = [
      { authorization: `Bearer ${token}` },
      { cookie: `sutazai_dashboard=${token}` },
      { cookie: 'sutazai_dashboard=' },
      { cookie: 'sutazai_dashboard=x.y.z' },
      { cookie: `${admin}x` },
      { cookie: admin.toUpperCase() },
    ];
    for (const headers of wrong) expect((await ask('GET', `${BOARD}/api/queues`, headers)).status).toBe(401);
  });

  it('asks for a login on a page without scripts', async () => {
    const { status, headers, body } = await ask('GET', '/admin/login');
    expect([status, headers.get('content-type')]).toEqual([200, 'text/html; charset=UTF-8']);
    expect(body).toContain('<form method="post" action="/admin/login">');
    expect(body).not.toMatch(/<script|javascript:| on\w+=/i);
  });

  it.each([
    ['a wrong password', 'admin', 'wrong password', 401],
    ['an unknown name', 'nobody', ADMIN_PASSWORD, 401],
    ['nothing', '', '', 401],
    ['a name with a NUL', 'ad\0min', ADMIN_PASSWORD, 401],
    ['markup as the name', '"><script>alert(1)</script>', 'x', 401],
  ])('answers the page again to %s', async (_, name, password, status) => {
    const answer = await login(name, password);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('set-cookie')).toBeNull();
    expect(answer.body).toContain('role="alert"');
    expect(answer.body).not.toContain('<script');
  });

  it('answers the page again to a file in the place of the name', async () => {
    const form = '--x\r\nContent-Disposition: form-data; name="login"; filename="a"\r\n\r\nadmin\r\n--x--\r\n';
    const answer = await ask(
      'POST',
      '/admin/login',
      { ...ownOrigin(), 'content-type': 'multipart/form-data; boundary=x' },
      [form],
    );
    expect(answer.status).toBe(401);
  });

  it.each(['user', 'viewer'] as const)('refuses a %s with the right password', async (role) => {
    const answer = await login((await world.client(role)).username);
    expect([answer.status, answer.headers.get('set-cookie')]).toEqual([403, null]);
  });

  it('gives a cookie that scripts cannot read and other sites cannot send', async () => {
    const answer = await login('admin@localhost.localdomain');
    expect([answer.status, answer.headers.get('location')]).toEqual([303, BOARD]);
    const [, ...attributes] = (answer.headers.get('set-cookie') ?? '').split('; ');
    expect(attributes.sort()).toEqual(['HttpOnly', 'Max-Age=1800', 'Path=/admin', 'SameSite=Strict']);
  });

  it('serves the page with a policy for its scripts, and everything that the page loads', async () => {
    const { status, headers, body } = await ask('GET', BOARD, { cookie: admin, accept: 'text/html' });
    expect([status, headers.get('content-type')]).toEqual([200, 'text/html; charset=UTF-8']);
    expect(headers.get('content-security-policy')).toContain("default-src 'self'");
    const base = new URL(/<base href="([^"]*)"/.exec(body)?.[1] ?? '', world.url + BOARD);
    const assets = [...body.matchAll(/(?:src|href)="([^"]+\.(?:js|css|svg|ico|png))"/g)].map(
      ([, path]) => new URL(path ?? '', base),
    );
    expect(assets.length).toBeGreaterThan(1);
    for (const { pathname } of assets)
      expect((await ask('GET', pathname, { cookie: admin })).status, pathname).toBe(200);
  });

  it('S30: lists the six lanes with what is in them, for an admin to steer and an operator to read', async () => {
    const client = await world.client();
    const before = (await queues(admin)).find(({ name }) => name === 'system')?.counts;
    for (const delay_seconds of [600, 700, 800]) await client.submit('echo', { message: 'x' }, { delay_seconds });
    await client.runTask('echo', { message: 'x' });
    const read = async (cookie: string) => (await queues(cookie)).find(({ name }) => name === 'system')?.counts;
    await expect.poll(async () => (await read(admin))?.completed).toBe((before?.completed ?? 0) + 1);
    expect(await read(admin)).toMatchObject({ delayed: (before?.delayed ?? 0) + 3, active: 0, waiting: 0, failed: 0 });
    expect(await read(operator)).toEqual(await read(admin));
    for (const [cookie, readOnly] of [
      [admin, false],
      [operator, true],
    ] as const) {
      const all = await queues(cookie);
      expect(all.map(({ name }) => name).sort()).toEqual([...LANES].sort());
      expect(all.map(({ readOnlyMode }) => readOnlyMode)).toEqual(all.map(() => readOnly));
    }
  });

  it('S30: lets an admin pause a lane, an operator not, and another site neither', async () => {
    const path = (verb: string) => `${BOARD}/api/queues/agent/${verb}`;
    const paused = async () => (await queues(admin)).find(({ name }) => name === 'agent')?.isPaused;
    const refused: Array<Record<string, string>> = [
      { cookie: operator, ...ownOrigin() },
      { cookie: admin },
      { cookie: admin, origin: 'https://evil.example' },
      { cookie: admin, origin: 'null' },
      { cookie: admin, ...ownOrigin(), 'sec-fetch-site': 'cross-site' },
      { cookie: admin, ...ownOrigin(), 'sec-fetch-site': 'same-site' },
    ];
    for (const headers of refused)
      for (const method of ['PUT', 'POST', 'PATCH', 'DELETE']) {
        const answer = await ask(method, path('pause'), headers);
        expectProblem({ ...answer, body: JSON.parse(answer.body) }, 'forbidden');
      }
    expect(await paused()).toBe(false);
    expect((await ask('PUT', path('pause'), { cookie: admin, ...ownOrigin() })).status).toBe(200);
    expect(await paused()).toBe(true);
    expect((await ask('PUT', path('resume'), { cookie: admin, 'sec-fetch-site': 'same-origin' })).status).toBe(200);
    expect(await paused()).toBe(false);
  });

  it.each(['https://evil.example', 'null'])('S30: refuses a login and a logout from %s', async (origin) => {
    expect((await login('admin', ADMIN_PASSWORD, { origin })).status).toBe(403);
    expect((await ask('POST', '/admin/logout', { cookie: admin, origin })).status).toBe(403);
    expect((await ask('GET', `${BOARD}/api/queues`, { cookie: admin })).status).toBe(200);
  });

  it('forgets the cookie at logout, also where somebody kept a copy', async () => {
    const cookie = cookieOf(await login('admin'));
    const answer = await ask('POST', '/admin/logout', { cookie, ...ownOrigin() });
    expect([answer.status, answer.headers.get('location')]).toEqual([303, '/admin/login']);
    expect(answer.headers.get('set-cookie')).toMatch(/^sutazai_dashboard=;.*Max-Age=0.*Path=\/admin/);
    expect((await ask('GET', `${BOARD}/api/queues`, { cookie })).status).toBe(401);
    expect((await ask('GET', BOARD, { cookie, accept: 'text/html' })).status).toBe(303);
  });
});

it('the queue dashboard and /metrics are not there where monitoring is off, and its cookie is Secure in production', async () => {
  const world = await createWorld({ mode: 'api', env: { ENABLE_MONITORING: 'false' } });
  for (const path of ['/admin/login', '/admin/queues'])
    expectProblem(await world.anonymous.request('GET', path), 'not_found');
  const off = await (await world.client('admin')).request('GET', '/metrics');
  expect(expectProblem(off, 'not_found').detail).toContain('ENABLE_MONITORING');
  const { url = '' } = await world.join('api', { ENABLE_MONITORING: 'true', NODE_ENV: 'production' });
  const form = new URLSearchParams({ login: 'admin', password: ADMIN_PASSWORD });
  const answer = await fetch(`${url}/admin/login`, {
    method: 'POST',
    body: form,
    headers: { origin: url },
    redirect: 'manual',
  });
  expect(answer.headers.get('set-cookie')).toMatch(/; Secure/);
  await world.close();
});

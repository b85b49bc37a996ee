import { get, request } from 'node:http';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApp } from '../../src/api/app.ts';
import { createAudit } from '../../src/api/audit.ts';
import { createPrincipals, type Principals } from '../../src/api/auth/principals.ts';
import { createTokens } from '../../src/api/auth/tokens.ts';
import { createIdempotency, type Idempotency } from '../../src/api/idempotency.ts';
import { POLICIES, type Policy, ROLE_PERMISSIONS } from '../../src/api/policy.ts';
import { defineRoute, type Route } from '../../src/api/route.ts';
import { type ApiServer, listen } from '../../src/api/server.ts';
import { loadConfig } from '../../src/config.ts';
import { type Notifications, openNotifications } from '../../src/db/notify.ts';
import { IDENTITY_CHANNEL } from '../../src/db/principals.ts';
import { UsageError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { fixedKeys } from '../support/keys.ts';
import { expectProblem } from '../support/problem.ts';

const SECRET = 'select * from users where password_hash = $1';
const route = (path: string, work: () => unknown): Route =>
  defineRoute({
    method: 'GET',
    path,
    summary: 'For tests',
    answers: {},
    handle: () => ({ status: 200, body: work() }),
  });

describe('the HTTP layer', () => {
  let database: TestDatabase;
  let notifications: Notifications;
  let principals: Principals;
  let idempotency: Idempotency;
  let server: ApiServer;
  const log = createLog('silent');
  const { http } = loadConfig({});
  const routes = [
    route('/fails', () => {
      throw Object.assign(new Error(`it broke at /srv/app.ts: ${SECRET}`), { code: '42601', query: SECRET });
    }),
    route('/fails-oddly', () => {
      throw null;
    }),
    route('/fails-late', () => {
      const loop: Record<string, unknown> = {};
      loop.loop = loop;
      return loop;
    }),
    route('/for-admins', () => ({ fine: true })),
  ];
  const policies: Record<string, Policy> = {
    'GET /fails': 'public',
    'GET /fails-oddly': 'public',
    'GET /fails-late': 'public',
    'GET /for-admins': 'queues:steer',
  };
  const build = (given: Route[], table: Record<string, Policy>) =>
    createApp({
      routes: given,
      policies: table,
      principals,
      audit: createAudit({ db: database.db, log }),
      idempotency,
      limits: { request: () => undefined, attempt: async () => undefined },
      publicUrl: undefined,
      maxBodyBytes: 1024,
      log,
    });
  beforeAll(async () => {
    database = await createTestDatabase();
    notifications = await openNotifications(database.url, [IDENTITY_CHANNEL], log);
    const { auth } = loadConfig({});
    principals = createPrincipals({
      db: database.db,
      tokens: createTokens(auth, fixedKeys('k'.repeat(32))),
      notifications,
      log,
    });
    idempotency = createIdempotency({
      db: database.db,
      box: createSecretBox(Buffer.alloc(32, 1).toString('base64')),
      log,
    });
    server = await listen(build(routes, policies), { ...http, port: 0, log });
  });
  afterAll(async () => {
    await server.close(1000);
    await principals.close();
    await notifications.close();
    await database.close();
  });

  it.each(['/fails', '/fails-oddly', '/fails-late'])(
    'says of an unexpected error at %s that there was one, and the request id, and nothing else',
    async (path) => {
      const answer = await fetch(server.url + path, { headers: { 'x-request-id': 'id-of-this-request' } });
      const text = await answer.text();
      const body = JSON.parse(text) as Record<string, unknown>;
      expectProblem({ status: answer.status, headers: answer.headers, body }, 'internal_error');
      expect(body).toMatchObject({ detail: 'Internal error', request_id: 'id-of-this-request', instance: path });
      for (const inside of ['select', 'users', 'app.ts', '42601', 'Error:', 'circular', 'stack'])
        expect(text).not.toContain(inside);
    },
  );

  it('asks for a token wherever the policy is not public', async () => {
    expect((await fetch(`${server.url}/for-admins`)).status).toBe(401);
  });

  it('knows no path with nothing where a name belongs', async () => {
    const app = build([{ ...route('/things/:id', () => 1), method: 'GET' }], { 'GET /things/:id': 'public' });
    expect((await app.request('/things/', { method: 'POST' })).status).toBe(404);
    expect((await app.request('/things/')).status).toBe(404);
    expect((await app.request('/things/1', { method: 'POST' })).status).toBe(405);
  });

  it('refuses a query where none is taken', async () => {
    const app = build([route('/fine', () => 1)], { 'GET /fine': 'public' });
    expect((await app.request('/fine')).status).toBe(200);
    const answer = await app.request('/fine?limit=1');
    const body = (await answer.json()) as Record<string, unknown>;
    const problem = expectProblem({ status: answer.status, headers: answer.headers, body }, 'validation_failed');
    expect(problem.errors).toEqual([{ pointer: '#/limit', detail: 'is not known here' }]);
  });

  it('S23: does not start with a route that has no policy, and names the line to add', () => {
    const { 'GET /fails': _, ...rest } = policies;
    expect(() => build(routes, rest)).toThrow(/GET \/fails has no policy.*src\/api\/policy\.ts/);
  });

  it('does not start with a policy that has no route, and names the line to take out', () => {
    expect(() => build(routes, { ...policies, 'GET /gone': 'public' })).toThrow(
      /GET \/gone has no route.*src\/api\/policy\.ts/,
    );
  });

  it('does not start with the same route twice, nor with a route that is named like something every object has', () => {
    expect(() => build([...routes, route('/fails', () => 1)], policies)).toThrow('two routes');
    expect(() => build([...routes, { ...route('x', () => 1), method: 'GET', path: '/toString' }], policies)).toThrow(
      'no policy',
    );
  });

  it('does not start with a public route that takes idempotency keys, which nobody would own', () => {
    const open = defineRoute({ ...route('/makes', () => 1), method: 'POST', idempotent: 'answer' });
    expect(() => build([...routes, open], { ...policies, 'POST /makes': 'public' })).toThrow(/POST \/makes is public/);
    expect(() => build([...routes, open], { ...policies, 'POST /makes': 'self:read' })).not.toThrow();
  });

  it('cuts a connection off on which nothing moves, but not where the answer is held open', async () => {
    const slow = (path: string, held: boolean) =>
      defineRoute({
        ...route(path, () => 1),
        handle: async ({ holdOpen }) => {
          if (held) holdOpen();
          await new Promise((resolve) => setTimeout(resolve, 700));
          return { status: 200, body: held };
        },
      });
    const app = build([slow('/slow', false), slow('/held', true)], { 'GET /slow': 'public', 'GET /held': 'public' });
    const strict = await listen(app, { ...http, port: 0, log, stillMs: 200 });
    // Not by `fetch`, which is held against the reference: it knows no routes of tests.
    const ask = (path: string) =>
      new Promise((resolve) => {
        const asked = get(strict.url + path, { agent: false }, ({ statusCode }) => resolve(statusCode));
        asked.once('error', () => resolve('cut off'));
      });
    expect(await Promise.all([ask('/slow'), ask('/held')])).toEqual(['cut off', 200]);
    await strict.close(0);
  });

  it('cuts a request off that comes too slowly, but lets a form take its time', async () => {
    const read = defineRoute({ ...route('/text', () => 1), method: 'POST', body: v.unknown() });
    const upload = defineRoute({
      ...{ ...route('/form', () => 1), method: 'POST', upload: v.strictObject({}) },
      handle: async ({ form }) => ({ status: 200, body: (await new Response(form?.body).text()).length }),
    });
    const app = build([read, upload], { 'POST /text': 'public', 'POST /form': 'public' });
    const strict = await listen(app, { ...http, port: 0, log, requestMs: 300 });
    /** Sends half of a body, and the rest after twice the time. */
    const send = (path: string, type: string) =>
      new Promise((resolve) => {
        const headers = { 'content-type': type, 'content-length': '8' };
        const sending = request(strict.url + path, { method: 'POST', agent: false, headers }, (answer) => {
          answer.resume();
          resolve(answer.statusCode);
        });
        sending.once('error', () => resolve('cut off'));
        sending.write('"abc');
        setTimeout(() => sending.end('def"'), 600);
      });
    const form = 'multipart/form-data; boundary=b';
    expect(await Promise.all([send('/text', 'application/json'), send('/form', form), send('/text', form)])).toEqual([
      ...[408, 200, 415],
    ]);
    await strict.close(0);
  });

  it('says which port is in use and what to set', async () => {
    const { port } = new URL(server.url);
    const second = listen(build(routes, policies), { ...http, port: Number(port), log });
    await expect(second).rejects.toThrow(UsageError);
    await expect(second).rejects.toThrow(`PORT=${Number(port) + 1}`);
  });
});

describe('the policies of the product', () => {
  it('let strangers do no more than get in, and ask how it is', () => {
    const open = Object.entries(POLICIES).flatMap(([key, policy]) => (policy === 'public' ? [key] : []));
    const known = [
      'GET /healthz',
      'GET /readyz',
      'POST /api/v1/auth/register',
      'POST /api/v1/auth/login',
      'POST /api/v1/auth/refresh',
    ];
    expect(open.filter((key) => !known.includes(key) && !/ \/(docs|openapi\.json|problems)/.test(key))).toEqual([]);
  });

  it('give each role everything that the one below it has', () => {
    const { viewer, user, operator, admin } = ROLE_PERMISSIONS;
    for (const [less, more] of [
      [viewer, user],
      [user, operator],
      [operator, admin],
    ] as const)
      expect([...less].filter((permission) => !more.has(permission))).toEqual([]);
  });
});

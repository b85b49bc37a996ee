import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem } from '../support/problem.ts';
import { rawJson, rawRequest } from '../support/raw-http.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const TASKS = '/api/v1/tasks';
const LIMIT = 4096;

describe('problems', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { MAX_BODY_BYTES: String(LIMIT) } });
    client = await world.client();
  });
  afterAll(() => world.close());

  const json = () => ({ authorization: `Bearer ${client.token}`, 'content-type': 'application/json' });
  const countTasks = async () => (await world.db.selectFrom('tasks').select('id').execute()).length;

  it.each(['{', '', 'undefined', "{'a':1}", '{"a":1,}', '[1'])('answers 400 to the body %j', async (body) => {
    const answer = await rawJson(world.url, { method: 'POST', path: TASKS, headers: json(), chunks: [body || ' '] });
    expectProblem(answer, 'bad_request');
  });

  it.each([
    ['nothing', {}, 'unauthorized', 'Bearer realm="sutazai"'],
    ['a scheme alone', { authorization: 'Bearer' }, 'unauthorized', 'Bearer realm="sutazai"'],
    ['two tokens', { authorization: 'Bearer a b' }, 'unauthorized', 'Bearer realm="sutazai"'],
    ['nonsense', { authorization: 'Bearer abc' }, 'invalid_token', 'Bearer realm="sutazai", error="invalid_token"'],
    [
      'another scheme',
      { authorization: 'Basic YTpi' },
      'invalid_token',
      'Bearer realm="sutazai", error="invalid_token"',
    ],
  ] as const)('answers 401 with a challenge to a request that brings %s', async (_, headers, code, challenge) => {
    for (const path of [TASKS, '/api/v1/auth/me', '/api/v1/task-types', '/api/v1/models']) {
      const answer = await world.anonymous.request('GET', path, undefined, headers);
      expectProblem(answer, code);
      expect(answer.headers.get('www-authenticate')).toBe(challenge);
    }
  });

  it('asks who it is before it looks at the body', async () => {
    expectProblem(await world.anonymous.request('POST', TASKS, '{'), 'unauthorized');
  });

  it('answers 404 to a path that is none, and no stack', async () => {
    for (const path of [
      '/index.html',
      '/api',
      '/api/v1/nothing',
      '/api/v1/tasks/x/y/z',
      '/.env',
      '/api/v1/../../etc/passwd',
    ])
      expectProblem(await client.request('GET', path), 'not_found');
  });

  it.each([
    ['DELETE', TASKS, 'POST, GET'],
    ['PUT', '/api/v1/auth/login', 'POST'],
    ['OPTIONS', '/healthz', 'GET'],
    ['GET', '/api/v1/tasks/01980000-0000-7000-8000-000000000000/cancel', 'POST'],
  ])('answers 405 with Allow to %s %s', async (method, path, allow) => {
    const answer = await client.request(method, path);
    expectProblem(answer, 'method_not_allowed');
    expect(answer.headers.get('allow')).toBe(allow);
  });

  it('answers 409 to what is there already', async () => {
    const account = { username: client.username, email: 'other@example.com', password: 'a long password' };
    expectProblem(await world.anonymous.request('POST', '/api/v1/auth/register', account), 'already_exists');
  });

  it('answers 413 to a long body, whether it says its length or not, and stores nothing', async () => {
    const before = await countTasks();
    const body = JSON.stringify({ type: 'echo', input: { message: 'x'.repeat(LIMIT) } });
    const pieces = body.match(/.{1,100}/gs) as string[];
    const sized = { ...json(), 'content-length': String(body.length) };
    for (const call of [
      { headers: sized, chunks: [body] },
      { headers: json(), chunks: pieces },
    ]) {
      const answer = await rawJson(world.url, { method: 'POST', path: TASKS, ...call });
      expect(expectProblem(answer, 'body_too_large').detail).toContain('MAX_BODY_BYTES');
    }
    expect(await countTasks()).toBe(before);
  });

  it('takes a body of just the limit', async () => {
    const empty = JSON.stringify({ type: 'echo', input: { message: '' } });
    const body = JSON.stringify({ type: 'echo', input: { message: 'x'.repeat(LIMIT - empty.length) } });
    for (const headers of [{ ...json(), 'content-length': String(LIMIT) }, json()])
      expect((await rawRequest(world.url, { method: 'POST', path: TASKS, headers, chunks: [body] })).status).toBe(202);
  });

  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonx',
    '',
  ])('answers 415 to a body of the type %j', async (type) => {
    const headers: Record<string, string> = { ...json(), 'content-type': type };
    if (type === '') delete headers['content-type'];
    const answer = await rawJson(world.url, { method: 'POST', path: TASKS, headers, chunks: ['{}'] });
    expectProblem(answer, 'unsupported_media_type');
  });

  it.each(['application/json; charset=utf-8', 'APPLICATION/JSON', 'application/vnd.sutazai+json'])(
    'reads a body of the type %s',
    async (type) => {
      const body = { type: 'echo', input: { message: 'x' } };
      expect((await client.request('POST', TASKS, body, { 'content-type': type })).status).toBe(202);
    },
  );

  it.each(['abcdefgh', '01980000-0000-7000-8000-000000000000', 'A-_9'.repeat(16)])(
    'takes the request id %s and writes it into the task',
    async (id) => {
      const answer = await client.request<{ id: string }>(
        'POST',
        TASKS,
        { type: 'echo', input: { message: 'x' } },
        { 'x-request-id': id },
      );
      expect(answer.headers.get('x-request-id')).toBe(id);
      const row = await world.db
        .selectFrom('tasks')
        .select('request_id')
        .where('id', '=', answer.body.id)
        .executeTakeFirst();
      expect(row?.request_id).toBe(id);
    },
  );

  it.each(['short', 'x'.repeat(65), 'with spaces in it', 'ünïcödé-ïd', '<script>alert(1)', 'a;b;c;d;e;f'])(
    'makes a request id in the place of %j',
    async (id) => {
      const sent = { 'x-request-id': Buffer.from(id).toString('latin1') };
      const given = (await world.anonymous.request('GET', '/healthz', undefined, sent)).headers.get('x-request-id');
      expect(given).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    },
  );

  it('echoes the request id on every kind of answer, once', async () => {
    const id = 'request-of-this-test';
    const calls: Array<[string, string, unknown?]> = [
      ['GET', '/healthz'],
      ['GET', '/readyz'],
      ['GET', '/nothing'],
      ['PUT', '/healthz'],
      ['POST', TASKS, '{'],
      ['POST', TASKS, { type: 'x'.repeat(LIMIT) }],
      ['GET', '/admin/login'],
      ['GET', '/admin/queues'],
    ];
    for (const by of [client, world.anonymous])
      for (const [method, path, body] of calls) {
        const { headers } = await by.request(method, path, body, { 'x-request-id': id });
        expect(headers.get('x-request-id'), `${method} ${path}`).toBe(id);
      }
  });

  it('sends no header that tells what it is made of, and the ones that protect browsers', async () => {
    const { headers } = await world.anonymous.request('GET', '/healthz');
    expect(headers.get('x-powered-by')).toBeNull();
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('x-frame-options')).toBe('SAMEORIGIN');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('access-control-allow-origin')).toBeNull();
  });
});

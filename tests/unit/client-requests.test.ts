import { afterAll, beforeAll, expect, it } from 'vitest';
import { Sutazai, type SutazaiError } from '../../src/client/index.ts';
import { hangUp, json, problem, type ScriptedHttp, silence, startScriptedHttp } from '../support/scripted-http.ts';

const TASK = { id: 't1', type: 'echo', status: 'pending' };
const echo = { type: 'echo' as const, input: { message: 'hi' } };

let server: ScriptedHttp;
let client: Sutazai;
beforeAll(async () => {
  server = await startScriptedHttp();
  client = new Sutazai({ baseUrl: `${server.url}/`, apiKey: 'sk_test', maxRetries: 3, timeoutMs: 5_000 });
});
afterAll(() => server.close());

const refusal = (call: Promise<unknown>): Promise<SutazaiError> =>
  call.then(
    () => Promise.reject(new Error('it went well')),
    (error) => error,
  );
const keys = () => server.asked.map(({ headers }) => headers['idempotency-key']);

it.each([
  ['a broken connection', hangUp],
  ['503', problem(503, 'temporary-reduced-capacity')],
  ['429', problem(429, 'quota-exceeded')],
  ['502 of a proxy that knows no JSON', (answer) => answer.writeHead(502).end('<h1>Bad gateway</h1>')],
  ['a key that is in use', problem(409, 'idempotency_key_in_use')],
] as Array<[string, typeof hangUp]>)('sends a submission again after %s, under the same key', async (_, failure) => {
  server.script(failure, failure, json(202, TASK));
  expect(await client.tasks.submit(echo)).toEqual(TASK);
  expect(server.asked.map(({ method, url, body }) => [method, url, JSON.parse(body)])).toEqual(
    Array(3).fill(['POST', '/api/v1/tasks', echo]),
  );
  expect(new Set(keys()).size).toBe(1);
  expect(keys()[0]).toMatch(/^[0-9a-f-]{36}$/);
  expect(server.asked[0]?.headers.authorization).toBe('Bearer sk_test');
});

it('makes a new key for each call, or takes the one it is given', async () => {
  server.script(json(202, TASK));
  await client.tasks.submit(echo);
  await client.tasks.submit(echo);
  await client.tasks.submit(echo, { idempotencyKey: 'mine' });
  await client.tasks.retry('t1');
  await client.tasks.token('t1');
  const [first, second, third, fourth, fifth] = keys();
  expect(first).not.toBe(second);
  expect([third, typeof fourth, typeof fifth]).toEqual(['mine', 'string', 'string']);
});

it('sends the text of a document as JSON, and a file as a form: again the same, under the same key', async () => {
  server.script(json(202, TASK));
  await client.documents.create('my docs', { text: 'Hi.', title: 'Short' });
  expect(server.asked).toMatchObject([
    { url: '/api/v1/collections/my%20docs/documents', body: '{"text":"Hi.","title":"Short"}' },
  ]);
  server.script(hangUp, json(202, TASK));
  const file = new File(['Hello.'], 'a.md');
  expect(await client.documents.create('docs', { file, metadata: { floor: 1 }, chunk_tokens: 64 })).toEqual(TASK);
  expect(new Set(keys()).size).toBe(1);
  for (const { headers, body } of server.asked) {
    const type = headers['content-type'] as string;
    const { file: sent, ...fields } = Object.fromEntries(
      await new Response(body, { headers: { 'content-type': type } }).formData(),
    );
    expect(fields).toEqual({ metadata: '{"floor":1}', chunk_tokens: '64' });
    expect([(sent as File).name, await (sent as File).text()]).toEqual(['a.md', 'Hello.']);
  }
  server.script(json(202, TASK));
  await client.documents.create('docs', { file: new Blob(['x']) });
  expect(server.asked[0]?.body).toContain('filename="blob"');
});

it('waits at least as long as Retry-After asks', async () => {
  server.script(problem(503, 'temporary-reduced-capacity', { 'retry-after': '1' }), json(202, TASK));
  const asked = Date.now();
  await client.tasks.submit(echo);
  const [, second] = server.asked;
  // Not from the first that the server saw: that may have been long on its way.
  expect((second?.at ?? 0) - asked).toBeGreaterThanOrEqual(990);
});

it('does not wait where it would have to for very long, and says how long', async () => {
  server.script(problem(429, 'quota-exceeded', { 'retry-after': '3600' }));
  const error = await refusal(client.tasks.submit(echo));
  expect(error).toMatchObject({ code: 'quota-exceeded', status: 429, retryAfterMs: 3_600_000 });
  expect(server.asked).toHaveLength(1);
});

it('gives up after as many repetitions as it may make', async () => {
  server.script(hangUp);
  const error = await refusal(client.tasks.get('t1'));
  expect(error).toMatchObject({ name: 'SutazaiError', code: 'network_error', status: 0 });
  expect(error.message).toContain('GET /api/v1/tasks/t1 had no answer');
  expect(server.asked).toHaveLength(4);
});

it.each([
  [422, 'validation_failed'],
  [422, 'idempotency_key_reused'],
  [409, 'task_ended'],
  [404, 'not_found'],
  [500, 'internal_error'],
])('does not repeat what %d %s refuses', async (status, code) => {
  server.script(problem(status, code));
  const error = await refusal(client.tasks.cancel('t1'));
  expect(error).toMatchObject({ code, status, detail: `about ${code}`, requestId: 'r-12345678' });
  expect(server.asked).toHaveLength(1);
});

it('says which fields are wrong', async () => {
  const errors = [{ pointer: '#/input/message', detail: 'is missing' }];
  server.script(json(422, { code: 'validation_failed', detail: 'The body is not valid.', errors }));
  expect(await refusal(client.tasks.submit(echo))).toMatchObject({ errors });
});

it('says that an answer which is not JSON is not from the API', async () => {
  server.script((answer) => answer.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Hello</h1>'));
  const error = await refusal(client.me());
  expect(error).toMatchObject({ code: 'bad_answer', status: 200 });
  expect(error.message).toContain('Is baseUrl that of the API?');
});

it('sends a request again that had no answer in time', async () => {
  const hasty = new Sutazai({ baseUrl: server.url, apiKey: 'sk_test', maxRetries: 1, timeoutMs: 50 });
  server.script(silence);
  expect(await refusal(hasty.me())).toMatchObject({ code: 'request_timeout' });
  expect(server.asked).toHaveLength(2);
});

it('also counts an answer that breaks off in the middle as none', async () => {
  server.script(
    (answer) => {
      answer.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' }).write('{"id":');
      setImmediate(() => answer.destroy());
    },
    json(200, TASK),
  );
  expect(await client.tasks.get('t1')).toEqual(TASK);
  expect(server.asked).toHaveLength(2);
});

it('stops at once when its signal aborts, and throws what that says', async () => {
  const stop = new AbortController();
  server.script(() => stop.abort(new Error('enough')));
  expect(await refusal(client.tasks.get('t1', { signal: stop.signal }))).toMatchObject({ message: 'enough' });
  const during = new AbortController();
  server.script(problem(503, 'temporary-reduced-capacity', { 'retry-after': '30' }));
  setTimeout(() => during.abort(new Error('not in 30 s')), 200);
  expect(await refusal(client.tasks.get('t1', { signal: during.signal }))).toMatchObject({ message: 'not in 30 s' });
});

it('takes no address that is none', () => {
  expect(() => new Sutazai({ baseUrl: 'localhost:3000' })).toThrow('such as http://127.0.0.1:3000');
});

it('puts filters into the query as the API reads them, and follows the pages', async () => {
  server.script(json(200, { data: [1, 2], next_cursor: 'c' }), json(200, { data: [3], next_cursor: null }));
  const filter = { status: ['failed', 'expired'], created_after: new Date(0), limit: 2 } as const;
  const found = [];
  for await (const one of client.tasks.list({ ...filter, status: [...filter.status] })) found.push(one);
  expect(found).toEqual([1, 2, 3]);
  expect(server.asked.map(({ url }) => decodeURIComponent(url))).toEqual([
    '/api/v1/tasks?status=failed,expired&created_after=1970-01-01T00:00:00.000Z&limit=2',
    '/api/v1/tasks?status=failed,expired&created_after=1970-01-01T00:00:00.000Z&limit=2&cursor=c',
  ]);
});

it('waits with the tag of what it knows, as often as Retry-After asks, and gives up after its time', async () => {
  const running = json(200, { ...TASK, status: 'running' }, { etag: '"a"', 'retry-after': '1' });
  const same = (answer: Parameters<typeof hangUp>[0]) =>
    answer.writeHead(304, { etag: '"a"', 'retry-after': '1' }).end();
  const seen: string[] = [];
  server.script(running, same, json(200, { ...TASK, status: 'completed' }));
  const asked = Date.now();
  await client.tasks.wait('t1', { onProgress: ({ status }) => seen.push(status) });
  expect(seen).toEqual(['running', 'completed']);
  const [first, second] = server.asked;
  expect([first?.headers['if-none-match'], second?.headers['if-none-match']]).toEqual([undefined, '"a"']);
  // Not from the first that the server saw: that may have been long on its way.
  expect((second?.at ?? 0) - asked).toBeGreaterThanOrEqual(990);

  server.script(running);
  expect(await refusal(client.tasks.wait('t1', { timeoutMs: 500 }))).toMatchObject({ code: 'wait_timeout' });
});

it('waits no longer than it was told to, where the server, or the login before it, says nothing', async () => {
  const late = async (call: Promise<unknown>, ms: number) => {
    const began = performance.now();
    const error = await refusal(call);
    expect(error).toMatchObject({ name: 'SutazaiError', code: 'wait_timeout' });
    expect(performance.now() - began).toBeGreaterThan(ms - 50);
    // Far below what one request may take.
    expect(performance.now() - began).toBeLessThan(4_000);
    return error.message;
  };
  server.script(silence);
  expect(await late(client.tasks.wait('t1', { timeoutMs: 200 }), 200)).toContain('the task t1 goes on');
  expect(await late(client.run('echo', echo.input, { timeoutMs: 200.5 }), 200)).toContain('may have been handed in');
  expect(keys()).toEqual([undefined, expect.any(String)]);
  server.script(problem(503, 'temporary-reduced-capacity', { 'retry-after': '30' }));
  await late(client.tasks.wait('t1', { timeoutMs: 200 }), 200);
  server.script(json(200, { ...TASK, status: 'running' }, { etag: '"a"', 'retry-after': '0' }), silence);
  expect(await late(client.tasks.wait('t1', { timeoutMs: 300 }), 300)).toContain('The task t1 is still running');
  server.script(silence);
  const person = new Sutazai({ baseUrl: server.url, username: 'ada', password: 'x' });
  await late(person.tasks.wait('t1', { timeoutMs: 200 }), 200);
  expect(server.asked.map(({ url }) => url)).toEqual(['/api/v1/auth/login']);

  const stop = new AbortController();
  server.script(() => stop.abort(new Error('enough')));
  const call = client.tasks.wait('t1', { timeoutMs: 60_000, signal: stop.signal });
  expect(await refusal(call)).toMatchObject({ message: 'enough' });
  server.script(json(200, { ...TASK, status: 'completed' }));
  expect(await client.tasks.wait('t1', { timeoutMs: 2 ** 40 })).toMatchObject({ status: 'completed' });
});

it('does not send a message to a webhook twice because the answer was lost, and does where it was refused for now', async () => {
  const calls = [() => client.deliveries.resend('d1'), () => client.webhooks.recover('w1', new Date(0))];
  for (const call of calls) {
    server.script(hangUp);
    expect(await refusal(call())).toMatchObject({ code: 'network_error' });
    expect(server.asked).toHaveLength(1);
    // What is on the way says these, of a request that may have been done.
    for (const status of [502, 504, 408]) {
      server.script(problem(status, 'from_a_proxy'));
      expect(await refusal(call())).toMatchObject({ status });
      expect(server.asked).toHaveLength(1);
    }
    server.script(problem(503, 'temporary-reduced-capacity'), problem(429, 'quota-exceeded'), json(202, {}));
    expect(await call()).toEqual({});
    expect(server.asked).toHaveLength(3);
  }
});

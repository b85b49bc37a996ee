import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { fieldErrors } from '../../src/api/validate.ts';
import { httpRequest } from '../../src/tasks/http-request.ts';
import type { HttpRequest, Tools } from '../../src/tasks/tools.ts';

const GET = { method: 'GET', url: 'https://example.com/' };
const POST = { ...GET, method: 'POST' };

/** What is wrong with an input: the pointers, each with its text. */
function problems(input: unknown): Record<string, string> {
  const parsed = v.safeParse(httpRequest.input, input);
  return Object.fromEntries(fieldErrors(parsed.issues ?? []).map(({ pointer, detail }) => [pointer, detail]));
}

/** Runs the task where the host gives this answer, and tells what was sent. */
async function run(input: unknown, answer: { contentType?: string; body?: string } = {}) {
  const sent: HttpRequest[] = [];
  const tools = {
    http: {
      async request(request: HttpRequest) {
        sent.push(request);
        const headers: Record<string, string> = answer.contentType ? { 'content-type': answer.contentType } : {};
        return { status: 200, headers, body: answer.body ?? '' };
      },
    },
  };
  const output = await httpRequest.run(v.parse(httpRequest.input, input), tools as Partial<Tools> as Tools);
  expect(v.safeParse(httpRequest.output, output).issues).toBeUndefined();
  return { sent: sent[0], output };
}

describe('the input of http.request', () => {
  it.each(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])('takes the method %s', (method) => {
    expect(problems({ ...GET, method })).toEqual({});
  });

  it.each(['CONNECT', 'TRACE', 'OPTIONS', 'get', 'GET / HTTP/1.1\r\nx: y', '', 5, null])(
    'refuses the method %j',
    (method) => {
      expect(problems({ ...GET, method })['#/method']).toContain('GET, HEAD, POST');
    },
  );

  it.each(['Accept', 'Authorization', 'X-Thing', 'content-type', "a!#$%&'*+-.^_`|~9"])(
    'takes the header %s',
    (name) => {
      expect(problems({ ...GET, headers: { [name]: 'a value; with="signs", and\ttabs' } })).toEqual({});
    },
  );

  it.each([
    ...['Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Keep-Alive', 'Proxy-Connection', 'Upgrade'],
    ...['TE', 'Trailer', 'Expect', 'Accept-Encoding', 'Proxy-Authorization', 'HTTP2-Settings'],
    ...['Idempotency-Key', 'IDEMPOTENCY-KEY', 'X-Request-Id'],
  ])('refuses the header %s', (name) => {
    expect(problems({ ...GET, headers: { [name]: 'x' } })).toEqual({
      [`#/headers/${name}`]: 'is a header that cannot be set',
    });
  });

  it.each(['', 'a b', 'a:', 'a\r\nx', 'a\0', 'é', ':path', 'x'.repeat(201)])('refuses the header name %j', (name) => {
    expect(Object.values(problems({ ...GET, headers: { [name]: 'x' } }))).toEqual(['must be the name of a header']);
  });

  it.each(['a\r\nx-evil: 1', 'a\nb', 'a\rb', '\0', 'é', '\u2028', '\x7f'])('refuses the header value %j', (value) => {
    expect(problems({ ...GET, headers: { 'x-a': value } })['#/headers/x-a']).toContain('printable ASCII');
  });

  it('refuses too many headers, too long ones, and one that is there twice', () => {
    const many = Object.fromEntries(Array.from({ length: 51 }, (_, n) => [`x-${n}`, 'x']));
    expect(problems({ ...GET, headers: many })).toEqual({ '#/headers': 'must be at most 50' });
    expect(problems({ ...GET, headers: { 'x-a': 'x'.repeat(8193) } })['#/headers/x-a']).toContain('8192');
    expect(problems({ ...GET, headers: { 'x-a': '1', 'X-A': '2' } })['#/headers']).toContain('twice');
    expect(problems({ ...GET, headers: { 'x-a': 5 } })['#/headers/x-a']).toBeDefined();
    expect(problems({ ...GET, headers: ['x-a: 1'] })['#/headers']).toBeDefined();
  });

  it('refuses a body where there can be none, a long URL, and what it does not know', () => {
    for (const method of ['GET', 'HEAD'])
      expect(problems({ ...GET, method, body: null })).toEqual({ '#/body': 'cannot go with GET or HEAD' });
    expect(problems({ ...GET, url: `https://example.com/${'x'.repeat(2048)}` })['#/url']).toContain('2048');
    expect(problems({ ...GET, timeout: 5 })).toEqual({ '#/timeout': 'is not known here' });
    expect(problems({ url: 'https://example.com/' })).toEqual({ '#/method': 'is missing' });
  });
});

describe('what http.request sends', () => {
  it.each([
    ['an object', { a: [1, null] }, '{"a":[1,null]}', 'application/json'],
    ['a number', 5, '5', 'application/json'],
    ['null', null, 'null', 'application/json'],
    ['false', false, 'false', 'application/json'],
    ['a text', 'a=1&b=2', 'a=1&b=2', 'text/plain; charset=utf-8'],
    ['an empty text', '', '', 'text/plain; charset=utf-8'],
  ])('is %s as it should be', async (_, body, text, type) => {
    expect((await run({ ...POST, body })).sent).toEqual({ ...POST, body: text, headers: { 'content-type': type } });
  });

  it('is of the type that the headers name', async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    expect((await run({ ...POST, headers, body: 'a=1' })).sent).toEqual({ ...POST, body: 'a=1', headers });
  });

  it('has neither body nor type where there is none', async () => {
    expect((await run(POST)).sent).toEqual({ ...POST, headers: {} });
  });
});

describe('the answer of http.request', () => {
  const output = async (contentType: string | undefined, body: string) => {
    const answer = await run(GET, { body, ...(contentType ? { contentType } : {}) });
    return [answer.output.body, answer.output.body_format];
  };

  it.each([
    'application/json',
    'application/json; charset=utf-8',
    'Application/JSON ;x',
    'application/problem+json',
    'text/json',
  ])('is parsed where it is of the type %s', async (type) => {
    expect(await output(type, '{"a":[1,"é"]}')).toEqual([{ a: [1, 'é'] }, 'json']);
    expect(await output(type, 'null')).toEqual([null, 'json']);
  });

  it.each([
    undefined,
    'text/plain',
    'text/html',
    'application/jsonp',
    'application/x-ndjson',
    'json',
    'x; application/json',
  ])('is text where it is of the type %s', async (type) => {
    expect(await output(type, '{"a":1}')).toEqual(['{"a":1}', 'text']);
  });

  it('is nothing where it is empty', async () => {
    expect(await output('application/json', '')).toEqual([null, 'none']);
  });

  const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
  it.each([
    ['that does not parse', '{"a":1'],
    ['with something after it', '{"a":1} x'],
    ['with a NUL character', '{"a":"\\u0000"}'],
    ['with half of a surrogate pair', '["\\ud800"]'],
    ['with a number that is none', '[1e400]'],
    ['with a name that reaches behind objects', '{"__proto__":{"admin":true}}'],
    ['that nests too deep', nested(64)],
    ['that nests without end', '['.repeat(1_000_000)],
    ['that nests in objects', '{"a":'.repeat(100_000)],
    ['with too many names', JSON.stringify(Object.fromEntries(Array.from({ length: 10_001 }, (_, n) => [n, 0])))],
  ])('stays text where it is JSON %s', async (_, body) => {
    expect(await output('application/json', body)).toEqual([body, 'text']);
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });

  it('may hold names that every object has in JavaScript', async () => {
    const text = '{"a":{"constructor":{"prototype":1},"prototype":2,"toString":3}}';
    expect(await output('application/json', text)).toEqual([JSON.parse(text), 'json']);
  });

  it('may nest as deep as it can be kept, and hold brackets in its texts', async () => {
    expect(await output('application/json', nested(63))).toEqual([JSON.parse(nested(63)), 'json']);
    const text = JSON.stringify([`\\"${'['.repeat(100)}`, '{'.repeat(100)]);
    expect(await output('application/json', text)).toEqual([JSON.parse(text), 'json']);
    const wide = JSON.stringify(Array.from({ length: 100 }, () => [{}]));
    expect(await output('application/json', wide)).toEqual([JSON.parse(wide), 'json']);
  });
});

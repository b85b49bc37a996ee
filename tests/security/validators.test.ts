import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyCancelAfter, parsePreferWait, type Submission, submission } from '../../src/api/submit.ts';
import { createRegistry } from '../../src/tasks/index.ts';
import { rawRequest } from '../support/raw-http.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

/** What regular expressions choke on: much of the same, with something at the end that does not fit. */
const PIECES = [
  'a',
  '1',
  ' ',
  '\t',
  '-',
  '.',
  '/',
  ':',
  ',',
  ';',
  '"',
  '\\',
  '@',
  '=',
  '+',
  '_',
  'a.',
  'a-',
  'a:',
  '1 ',
  ' ;',
  'wait',
  'a@',
];
const STARTS = ['', '1', 'a', '"', 'wait=', 'Bearer ', 'application/json;charset', 'http://', 'a@b', '2030-01-01T'];
const long = (length: number) =>
  STARTS.flatMap((start) => PIECES.map((piece) => `${start}${piece.repeat(length / piece.length)}!`));

/** Milliseconds of CPU, of the whole process. */
async function cpuOf(work: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

describe('validators', () => {
  it('S47: of headers and of bodies take time in proportion to what they are given', async () => {
    const given = { type: 'echo' } as Submission;
    const inputs = createRegistry({ vectors: true })
      .list()
      .map(({ input, examples }) => ({ input, example: examples?.[0] }));
    for (const text of long(100_000)) {
      const spent = await cpuOf(() => {
        parsePreferWait(text);
        try {
          applyCancelAfter(given, text);
        } catch {
          // It is refused; here only the time counts.
        }
        v.safeParse(submission, {
          type: text,
          input: text,
          title: text,
          tags: [text],
          scheduled_for: text,
          webhook: { url: text, secret: text },
        });
        for (const { input } of inputs)
          v.safeParse(input, {
            model: text,
            collection: text,
            url: text,
            messages: [{ role: text, content: text }],
            headers: { [text]: text },
          });
      });
      expect(spent, JSON.stringify(text.slice(0, 30))).toBeLessThan(1_000);
    }
  });
});

describe('requests', () => {
  let world: World;
  let user: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    user = await world.client();
  });
  afterAll(() => world.close());

  const HEADERS = [
    ...['authorization', 'x-api-key', 'content-type', 'content-encoding', 'prefer', 'cancel-after', 'idempotency-key'],
    ...['if-none-match', 'x-request-id', 'x-forwarded-for', 'cookie', 'origin', 'accept', 'host', 'last-event-id'],
  ];
  it.each(HEADERS)('S47: with 15 kB in the header %s are answered at once', async (name) => {
    const spent: Array<{ ms: number; text: string; status: number }> = [];
    for (const text of long(15_000).filter((_, at) => at % 3 === 0)) {
      let status = 0;
      const ms = await cpuOf(async () => {
        const headers = { 'content-type': 'application/json', authorization: `Bearer ${user.token}`, [name]: text };
        const path = name === 'if-none-match' ? '/api/v1/auth/me' : '/api/v1/tasks';
        const method = name === 'if-none-match' ? 'GET' : 'POST';
        status = (await rawRequest(world.url, { method, path, headers, chunks: method === 'GET' ? [] : ['{}'] }))
          .status;
      });
      spent.push({ ms, text: text.slice(0, 30), status });
    }
    expect(spent.filter(({ status }) => status >= 500)).toEqual([]);
    // The odd one may meet a collection of garbage.
    const slow = 120;
    expect(
      spent.filter(({ ms }) => ms > slow).length,
      JSON.stringify(spent.filter(({ ms }) => ms > slow)),
    ).toBeLessThan(3);
  });

  it.each([
    ['register', (text: string) => ({ username: text, email: text, password: text })],
    ['login', (text: string) => ({ username: text, password: text })],
    ['refresh', (text: string) => ({ refresh_token: text })],
  ])('S47: to %s with half a megabyte are answered at once', async (route, body) => {
    for (const text of long(500_000).filter((_, at) => at % 7 === 0)) {
      let status = 0;
      const ms = await cpuOf(async () => {
        status = (await world.anonymous.request('POST', `/api/v1/auth/${route}`, body(text.slice(0, 300_000)))).status;
      });
      expect(status).toBeLessThan(500);
      expect(ms, JSON.stringify(text.slice(0, 30))).toBeLessThan(500);
    }
  });

  it('S46: cannot reach the prototypes of objects by any door', async () => {
    const names = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'];
    for (const name of names) {
      const inside = `{"${name}":{"polluted":1}}`;
      const bodies = [
        `{"type":"echo","input":{"message":"x"},"metadata":${inside}}`,
        `{"type":"echo","input":{"message":"x","${name}":{"polluted":1}}}`,
        `{"type":"${name}","input":{}}`,
        `{"type":"chat","input":{"messages":[{"role":"user","content":"x"}],"options":${inside}}}`,
        `{"type":"echo","input":{"message":"x"},"${name}":{"polluted":1}}`,
      ];
      for (const body of bodies) expect((await user.request('POST', '/api/v1/tasks', body)).status).toBeLessThan(500);
      for (const query of [`${name}=1`, `${name}[polluted]=1`, `tag=x&${name}=y`, `status=${name}`, `type=${name}`])
        expect((await user.request('GET', `/api/v1/tasks?${query}`)).status).toBeLessThan(500);
      for (const path of [`/api/v1/tasks/${name}`, `/docs/problems/${name}`, `/api/v1/${name}`, `/${name}`])
        expect((await user.request('GET', path)).status).toBe(404);
      const form = await world.anonymous.request(
        'POST',
        '/admin/login',
        `${name}=1&${name}[polluted]=1&login.${name}=x`,
        {
          'content-type': 'application/x-www-form-urlencoded',
          origin: world.url,
        },
      );
      expect(form.status).toBeLessThan(500);
      const headers = { [name]: 'x', cookie: `${name}=x; sutazai_dashboard=${name}` };
      expect((await rawRequest(world.url, { path: '/admin', headers })).status).toBe(303);
    }
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(([] as unknown as Record<string, unknown>).polluted).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
});

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type FakeOllama, startFakeOllama } from '../support/fake-ollama.ts';
import { type Product, startProduct } from '../support/product.ts';
import { rawRequest } from '../support/raw-http.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { until } from '../support/until.ts';
import { anonymousClient, type Client } from '../support/world.ts';

/** Words that nobody else says, so that one of them in the log can only have come from there. */
const word = (what: string) => `${what}-${randomBytes(6).toString('hex')}`;
const PASSWORD = word('an admin password');
const SECRETS = {
  JWT_SECRET_KEY: randomBytes(32).toString('hex'),
  ENCRYPTION_KEY: randomBytes(32).toString('base64'),
  ADMIN_PASSWORD: PASSWORD,
};

describe('the log of a process, with all that it can say', () => {
  let database: TestDatabase;
  let ollama: FakeOllama;
  let sink: Sink;
  let product: Product;
  const said = new Map<string, string>(Object.entries(SECRETS));
  /** Remembers a text that must not turn up, and hands it on. */
  const hide = (what: string, text: string) => {
    said.set(what, text);
    return text;
  };

  beforeAll(async () => {
    [database, ollama, sink] = [await createTestDatabase(), await startFakeOllama(), await startSink()];
    product = await startProduct(['start'], {
      PATH: process.env.PATH ?? '',
      NODE_ENV: 'test',
      LOG_LEVEL: 'trace',
      PORT: '0',
      DATABASE_URL: database.url,
      QUEUE_BACKEND: 'redis',
      REDIS_URL: inject('redisUrl'),
      QUEUE_PREFIX: `t${randomBytes(6).toString('hex')}`,
      OLLAMA_HOST: ollama.url,
      QDRANT_URL: inject('qdrantUrl'),
      BCRYPT_COST: '4',
      EGRESS_ALLOW: '127.0.0.1',
      AUTH_RATE_LIMIT_PER_MINUTE: '0',
      ...SECRETS,
    });
  });
  afterAll(async () => {
    await product.stop('SIGTERM');
    await sink.close();
    await ollama.close();
    await database.close();
  });

  async function login(password: string): Promise<Client> {
    const { body } = await anonymousClient(product.url).request<Record<string, string>>('POST', '/api/v1/auth/login', {
      username: 'admin',
      password,
    });
    hide('an access token', body.access_token as string);
    hide('a refresh token', body.refresh_token as string);
    return anonymousClient(product.url, body.access_token);
  }

  it('S48: has no password, no token, no key, no prompt and no output in it', async () => {
    const admin = await login(PASSWORD);
    const anonymous = anonymousClient(product.url);
    const post = (path: string, body: unknown, headers = {}) => admin.request('POST', `/api/v1${path}`, body, headers);
    for (const password of ['a wrong password', 'a new password', 'an admin password'].map(word))
      await anonymous.request('POST', '/api/v1/auth/login', {
        username: hide('a name', word('name')),
        password: hide(password, password),
      });
    const account = {
      username: word('user'),
      email: `${word('user')}@example.com`,
      password: hide('a chosen password', word('chosen')),
    };
    expect((await post('/auth/register', account)).status).toBe(201);
    const pair = await anonymous.request<Record<string, string>>('POST', '/api/v1/auth/refresh', {
      refresh_token: said.get('a refresh token'),
    });
    hide('another token', pair.body.refresh_token as string);
    await anonymous.request('POST', '/api/v1/auth/refresh', { refresh_token: hide('a wrong token', word('refresh')) });
    const key = await post('/api-keys', { name: 'for the log' });
    const withKey = hide('an API key', (key.body as { key: string }).key);
    await anonymous.request('GET', '/api/v1/tasks', undefined, { 'x-api-key': withKey });
    await anonymous.request('GET', '/api/v1/tasks', undefined, {
      authorization: `Bearer ${hide('a bad key', `sk_${randomBytes(32).toString('base64url')}`)}`,
    });
    await anonymous.request('GET', '/api/v1/tasks', undefined, {
      authorization: `Basic ${hide('basic', randomBytes(12).toString('base64'))}`,
    });

    const prompt = hide('a prompt', word('prompt'));
    const task = await admin.runTask(
      'chat',
      { messages: [{ role: 'user', content: prompt }] },
      {
        title: hide('a title', word('title')),
        metadata: { note: hide('metadata', word('note')) },
        webhook: {
          url: `${sink.url}/?token=${hide('a token in a URL', word('token'))}`,
          secret: `whsec_${hide('a webhook secret', randomBytes(24).toString('base64'))}`,
        },
      },
    );
    expect(task.status).toBe('completed');
    expect(JSON.stringify(task.output)).not.toBe('');
    ollama.script = (_, response) => {
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: `the model does not like ${hide('an answer', word('answer'))}` }));
      return true;
    };
    const failing = await admin.runTask(
      'chat',
      { messages: [{ role: 'user', content: hide('a prompt that fails', word('prompt')) }] },
      { max_attempts: 1 },
    );
    expect(failing.status).toBe('failed');
    for (const body of [
      { type: 'echo', input: { message: 5, more: hide('a bad input', word('input')) } },
      `{"type":"${hide('no JSON', word('json'))}`,
      { type: hide('no type', word('type')) },
    ])
      expect((await post('/tasks', body)).status).toBeGreaterThanOrEqual(400);
    const form = new URLSearchParams({ login: 'admin', password: hide('a form password', word('form')) }).toString();
    const headers = {
      'content-type': 'application/x-www-form-urlencoded',
      origin: product.url,
      cookie: `sutazai_dashboard=${hide('a cookie', word('cookie'))}`,
    };
    await rawRequest(product.url, { method: 'POST', path: '/admin/login', headers, chunks: [form] });
    await rawRequest(product.url, { path: `/api/v1/tasks?access_token=${hide('a token in a query', word('query'))}` });

    await until('the webhook came', () => sink.received.length > 0);
    await rawRequest(product.url, { path: '/healthz', headers: { 'x-request-id': 'the-last-request' } });
    await until('all of it is logged', () => product.output().includes('the-last-request'));
    const log = product.output();
    expect(log.split('\n').length).toBeGreaterThan(20);
    expect([...said].filter(([, text]) => log.includes(text)).map(([what]) => what)).toEqual([]);
    for (const url of [new URL(database.url), new URL(inject('redisUrl'))])
      if (url.password) expect(log).not.toContain(`:${url.password}@`);
    expect(log).not.toMatch(/\$2[aby]\$\d\d\$/);
  });

  it('S48: says one thing a line, whatever is sent: nobody writes a line of their own into it', async () => {
    const forged = '{"level":"error","msg":"forged"}';
    const spoilt = [
      `%0a${encodeURIComponent(forged)}`,
      `%0d%0a${encodeURIComponent(forged)}`,
      '%1b%5b2J%1b%5b31m',
      '%e2%80%a8x',
      '%00',
    ];
    for (const text of spoilt) await rawRequest(product.url, { path: `/api/v1/tasks/${text}?${text}` });
    await rawRequest(product.url, {
      path: '/healthz',
      headers: { 'x-request-id': 'id","msg":"forged', 'user-agent': forged },
    });
    await anonymousClient(product.url).request('POST', '/api/v1/auth/login', {
      username: `x\n${forged}`,
      password: `\n${forged}`,
    });
    await rawRequest(product.url, { path: '/healthz', headers: { 'x-request-id': 'the-very-last-request' } });
    await until('all of it is logged', () => product.output().includes('the-very-last-request'));
    const lines = product
      .output()
      .split('\n')
      .filter((line) => line.startsWith('{') || line.includes('forged'));
    expect(lines.length).toBeGreaterThan(10);
    for (const line of lines) {
      const { name, msg } = JSON.parse(line) as { name: string; msg: string };
      expect([name, msg]).not.toContain('forged');
      expect(name).toBe('sutazai');
    }
    expect(product.output()).not.toContain('\u001b');
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rawRequest } from '../support/raw-http.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const APP = 'https://app.example.com';
const TASKS = '/api/v1/tasks';
const corsHeaders = (headers: Headers) => [...headers.keys()].filter((name) => name.startsWith('access-control-'));

describe('pages of other origins', () => {
  let world: World;
  let user: Client;
  beforeAll(async () => {
    world = await createWorld({ env: { CORS_ORIGINS: `${APP}, http://localhost:5173` } });
    user = await world.client();
  });
  afterAll(() => world.close());

  const preflight = (path: string, origin: string, method = 'POST') =>
    rawRequest(world.url, {
      method: 'OPTIONS',
      path,
      headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': 'authorization' },
    });

  it('that are listed may call the API, and read what it answers, errors too', async () => {
    for (const origin of [APP, 'http://localhost:5173']) {
      const asked = await preflight(TASKS, origin);
      expect([asked.status, asked.body]).toEqual([204, '']);
      expect(asked.headers.get('access-control-allow-origin')).toBe(origin);
      expect(asked.headers.get('access-control-allow-methods')).toBe('GET, POST, PATCH, DELETE');
      expect(asked.headers.get('access-control-allow-headers')?.toLowerCase()).toContain('authorization');
      // Those that OpenAI's client sends with each request, or it could not be used in a page.
      expect(asked.headers.get('access-control-allow-headers')).toMatch(/X-Stainless-OS, .*X-Stainless-Retry-Count/);
      expect(asked.headers.get('access-control-allow-credentials')).toBeNull();
      expect(asked.headers.get('vary')).toContain('Origin');
    }
    for (const [path, status] of [
      [TASKS, 200],
      [`${TASKS}/x`, 404],
      ['/nowhere', 404],
    ] as const) {
      const answer = await user.request('GET', path, undefined, { origin: APP });
      expect(answer.status).toBe(status);
      expect(answer.headers.get('access-control-allow-origin')).toBe(APP);
      expect(answer.headers.get('access-control-expose-headers')).toMatch(/Retry-After.*X-Should-Retry/);
      expect(answer.headers.get('vary')).toContain('Origin');
    }
  });

  it.each([
    'https://app.example.com.evil.com',
    'https://evil-app.example.com',
    'http://app.example.com',
    'https://app.example.com:8443',
    'https://APP.example.com',
    'https://app.example.com/',
    'https://evil.com',
    'null',
    '*',
    '',
  ])('that are not listed learn nothing: %j', async (origin) => {
    const asked = await preflight(TASKS, origin);
    expect(asked.status).not.toBe(204);
    const answer = await user.request('GET', TASKS, undefined, { origin });
    expect([...corsHeaders(asked.headers), ...corsHeaders(answer.headers)]).toEqual([]);
    expect(answer.headers.get('vary')).toContain('Origin');
  });

  it('are told the same of every path, so that asking beforehand shows nothing of what is there', async () => {
    const answers = await Promise.all(
      [TASKS, '/api/v1/users', '/api/v1/nothing', '/nowhere', '/healthz'].map((path) => preflight(path, APP)),
    );
    const said = ({ status, headers, body }: (typeof answers)[number]) =>
      JSON.stringify([status, body, [...headers].filter(([name]) => name !== 'x-request-id' && name !== 'date')]);
    expect(new Set(answers.map(said)).size).toBe(1);
  });

  it('never get at the dashboard', async () => {
    for (const path of ['/admin', '/admin/login', '/admin/queues', '/admin/queues/api/queues']) {
      const asked = await preflight(path, APP, 'GET');
      expect(asked.status).not.toBe(204);
      const answer = await rawRequest(world.url, { path, headers: { origin: APP } });
      expect([...corsHeaders(asked.headers), ...corsHeaders(answer.headers)]).toEqual([]);
    }
  });
});

it('pages of other origins may nothing where none is listed, and every answer has its security headers', async () => {
  const world = await createWorld();
  try {
    const asked = await rawRequest(world.url, {
      method: 'OPTIONS',
      path: TASKS,
      headers: { origin: APP, 'access-control-request-method': 'POST' },
    });
    expect(asked.status).toBe(405);
    const paths = ['/healthz', TASKS, '/nowhere', '/admin/login', '/docs/problems/not_found'];
    const answers = await Promise.all(paths.map((path) => rawRequest(world.url, { path, headers: { origin: APP } })));
    for (const { headers } of [asked, ...answers]) {
      expect(corsHeaders(headers)).toEqual([]);
      expect(Object.fromEntries(headers)).toMatchObject({
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'SAMEORIGIN',
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': 'same-origin',
        'cross-origin-opener-policy': 'same-origin',
        'strict-transport-security': expect.stringContaining('max-age='),
      });
      expect(headers.get('x-powered-by')).toBeNull();
      expect(headers.get('server')).toBeNull();
    }
  } finally {
    await world.close();
  }
});

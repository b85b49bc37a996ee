import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { failFrom, LOGIN, logInFrom, storeAccount } from '../support/logins.ts';
import { expectProblem } from '../support/problem.ts';
import { createWorld, type World } from '../support/world.ts';

/** A minute that does not end while a test runs. */
beforeEach(() => {
  const now = Date.now();
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(now - (now % 60_000) + 1_000);
});
afterEach(() => void vi.useRealTimers());

const nobody = (number: number) => ({ username: `nobody${number}` });

describe('what an address may try without a token', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ env: { TRUSTED_PROXIES: '127.0.0.1', AUTH_RATE_LIMIT_PER_MINUTE: '6' } });
  });
  afterAll(() => world.close());

  it('S18: is limited, whatever account is tried, and each answer says how it stands', async () => {
    for (let time = 1; time <= 6; time++) {
      const { status, headers } = await logInFrom(world, '203.0.113.1', nobody(time));
      expect(status).toBe(401);
      expect(headers.get('ratelimit-policy')).toBe('"auth_requests_per_minute";q=6;w=60');
      expect(headers.get('ratelimit')).toBe(`"auth_requests_per_minute";r=${6 - time};t=59`);
    }
    const refused = await logInFrom(world, '203.0.113.1', nobody(7));
    expect(expectProblem(refused, 'quota-exceeded')['violated-policies']).toEqual(['auth_requests_per_minute']);
    expect(refused.headers.get('retry-after')).toBe('59');
    expect(refused.headers.get('ratelimit')).toBe('"auth_requests_per_minute";r=0;t=59');
    expect((await logInFrom(world, '203.0.113.2', nobody(7))).status).toBe(401);
    vi.setSystemTime(Date.now() + 60_000);
    expect((await logInFrom(world, '203.0.113.1', nobody(8))).status).toBe(401);
  });

  it('S19: counts for a whole /64 of IPv6', async () => {
    for (let host = 1; host <= 6; host++)
      expect(await failFrom(world, `2001:db8:5:5:${host}::${host}`, nobody(host), 1)).toEqual([401]);
    expect(await failFrom(world, '2001:db8:5:5::99', nobody(0), 1)).toEqual([429]);
    expect(await failFrom(world, '2001:db8:5:6::99', nobody(0), 1)).toEqual([401]);
  });

  it('S19: is one for logins, registrations, refreshes and the dashboard, in every process', async () => {
    const from = { 'x-forwarded-for': '203.0.113.3' };
    const json = { 'content-type': 'application/json', ...from };
    const post = (path: string, body: string, headers: Record<string, string>, url = world.url) =>
      fetch(url + path, { method: 'POST', body, headers, redirect: 'manual' });
    const form = { 'content-type': 'application/x-www-form-urlencoded', origin: world.url, ...from };
    const there = (await world.join('api')).url as string;
    expect((await post('/api/v1/auth/register', '{', json)).status).toBe(400);
    expect((await post('/api/v1/auth/refresh', '{"refresh_token":"x"}', json)).status).toBe(401);
    expect((await post('/admin/login', 'login=x&password=y', form)).status).toBe(401);
    expect((await post(LOGIN, '{"username":"x","password":"y"}', json, there)).status).toBe(401);
    expect((await post(LOGIN, '{"username":"x","password":"y"}', json)).status).toBe(401);
    expect((await post(LOGIN, '{"username":"x","password":"y"}', json, there)).status).toBe(401);
    for (const path of ['/api/v1/auth/register', '/api/v1/auth/refresh', LOGIN])
      expect((await post(path, '{}', json)).status).toBe(429);
    const page = await post('/admin/login', 'login=x&password=y', form);
    expect([page.status, page.headers.get('retry-after')]).toEqual([429, '59']);
    expect(await page.text()).toContain('6 requests a minute');
  });

  it('leaves those alone who have a token', async () => {
    const account = await storeAccount(world);
    const { body } = await logInFrom(world, '203.0.113.4', account);
    const headers = { authorization: `Bearer ${body.access_token}`, 'x-forwarded-for': '203.0.113.4' };
    for (let time = 0; time < 10; time++)
      expect((await fetch(`${world.url}/api/v1/auth/me`, { headers })).status).toBe(200);
  });
});

describe('without a proxy that is trusted', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { AUTH_RATE_LIMIT_PER_MINUTE: '3' } });
  });
  afterAll(() => world.close());

  it('S19: another X-Forwarded-For makes nobody another client, and is not what a session remembers', async () => {
    const account = await storeAccount(world);
    expect((await logInFrom(world, '203.0.113.1', account)).status).toBe(200);
    for (const header of ['203.0.113.2', '203.0.113.3, 127.0.0.1'])
      expect(await failFrom(world, header, account, 1)).toEqual([401]);
    expect(await failFrom(world, '203.0.113.4', account, 1)).toEqual([429]);
    const sessions = await world.db.selectFrom('user_sessions').select('address').execute();
    expect(sessions).toEqual([{ address: '127.0.0.1' }]);
  });
});

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem } from '../support/problem.ts';
import { ADMIN_PASSWORD, type Client, createWorld, type World } from '../support/world.ts';

describe('what is said of a credential that cannot be taken', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { AUTH_RATE_LIMIT_PER_MINUTE: '30' } });
    client = await world.client();
  });
  afterAll(() => world.close());

  const me = (headers: Record<string, string>) => world.anonymous.request('GET', '/api/v1/auth/me', undefined, headers);

  it('that Bearer is wanted, where another scheme comes', async () => {
    const basic = `Basic ${Buffer.from(`${client.username}:${ADMIN_PASSWORD}`).toString('base64')}`;
    expect(expectProblem(await me({ authorization: basic }), 'invalid_token').detail).toMatch(/wants `Bearer/);
    expect((await me({ authorization: `bearer ${client.token}` })).status).toBe(200);
  });

  it('what it is, where an access token comes in place of a refresh token', async () => {
    const refresh = (refresh_token: unknown) =>
      world.anonymous.request('POST', '/api/v1/auth/refresh', { refresh_token });
    const problem = expectProblem(await refresh(client.token), 'validation_failed');
    expect(problem.errors).toEqual([
      { pointer: '#/refresh_token', detail: expect.stringContaining('is an access token') },
    ]);
    expect(expectProblem(await refresh('x'.repeat(201)), 'validation_failed').errors?.[0]?.detail).toBe('is too long');
  });

  it('how long it takes, after ten logins that failed', async () => {
    const { username } = await world.client();
    const login = (password: string) => world.anonymous.request('POST', '/api/v1/auth/login', { username, password });
    for (let n = 0; n < 10; n++) expectProblem(await login('wrong, but long'), 'invalid_credentials');
    expect(expectProblem(await login(ADMIN_PASSWORD), 'quota-exceeded').detail).toMatch(/Ten logins .* in 15 minutes/);
  });

  it('S23: that there were too many, where an address makes up API keys, and good ones are taken all the same', async () => {
    const { body } = await client.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'good' });
    expect((await me({ 'x-api-key': body.key })).status).toBe(200);
    const made = () => `sk_${randomBytes(32).toString('base64url')}`;
    const thirty = () => Promise.all(Array.from({ length: 30 }, () => me({ 'x-api-key': made() })));
    for (const answer of await thirty()) expectProblem(answer, 'invalid_token');
    // Counted anew where a minute has just begun, or where the word of a changed identity came in between.
    const answer = await me({ 'x-api-key': made() });
    if (answer.status === 401) await thirty();
    const last = answer.status === 401 ? await me({ 'x-api-key': made() }) : answer;
    const refused = expectProblem(last, 'quota-exceeded');
    expect(refused['violated-policies']).toEqual(['unknown_keys']);
    expect((await me({ 'x-api-key': body.key })).status).toBe(200);
  });
});

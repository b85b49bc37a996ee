import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem } from '../support/problem.ts';
import { ADMIN_PASSWORD, anonymousClient, createWorld, type World } from '../support/world.ts';

interface Pair {
  access_token: string;
  refresh_token: string;
  [name: string]: unknown;
}

const ME = '/api/v1/auth/me';

describe('sessions', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
  });
  afterAll(() => world.close());

  async function login(): Promise<Pair> {
    const { username } = await world.client();
    return (await world.anonymous.request<Pair>('POST', '/api/v1/auth/login', { username, password: ADMIN_PASSWORD }))
      .body;
  }
  const refresh = (refresh_token: string) =>
    world.anonymous.request<Pair>('POST', '/api/v1/auth/refresh', { refresh_token });
  const statusOf = async (token: string, url = world.url) => {
    const answer = await fetch(url + ME, { headers: { authorization: `Bearer ${token}` } });
    await answer.arrayBuffer();
    return answer.status;
  };
  const sidOf = (token: string) =>
    JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).sid as string;
  const sessionOf = (token: string) =>
    world.db.selectFrom('user_sessions').selectAll().where('id', '=', sidOf(token)).executeTakeFirstOrThrow();
  /** Moves the last change of a session back in time, past the grace. */
  const age = (token: string) =>
    world.db
      .updateTable('user_sessions')
      .set({ rotated_at: new Date(Date.now() - 11_000) })
      .where('id', '=', sidOf(token))
      .execute();

  it('give a new pair for a refresh token, in the same session', async () => {
    const first = await login();
    const { status, headers, body } = await refresh(first.refresh_token);
    expect([status, headers.get('cache-control')]).toEqual([200, 'no-store']);
    expect(Object.keys(body).sort()).toEqual(Object.keys(first).sort());
    expect(body.user).toEqual({ ...(first.user as object), last_login_at: expect.stringMatching(/Z$/) });
    expect(body.refresh_token).not.toBe(first.refresh_token);
    expect(sidOf(body.access_token)).toBe(sidOf(first.access_token));
    expect(await statusOf(body.access_token)).toBe(200);
    expect((await refresh(body.refresh_token)).status).toBe(200);
  });

  it('S11: end with all their tokens, at once, when a refresh token is used again', async () => {
    const first = await login();
    const second = (await refresh(first.refresh_token)).body;
    await age(second.access_token);
    expectProblem(await refresh(first.refresh_token), 'invalid_token');
    for (const { access_token } of [first, second]) expect(await statusOf(access_token)).toBe(401);
    expectProblem(await refresh(second.refresh_token), 'invalid_token');
    expect(await sessionOf(second.access_token)).toMatchObject({ revoked_reason: 'refresh_token_reused' });
  });

  it('end also when a token from long before is used, however often it was renewed since, without any grace', async () => {
    const first = await login();
    const second = (await refresh(first.refresh_token)).body;
    const third = (await refresh(second.refresh_token)).body;
    expectProblem(await refresh(first.refresh_token), 'invalid_token');
    expect(await statusOf(third.access_token)).toBe(401);
    expectProblem(await refresh(third.refresh_token), 'invalid_token');
  });

  it('S12: let exactly one of two refreshes at once win, and do not end because of the other', async () => {
    for (let round = 0; round < 10; round++) {
      const { refresh_token } = await login();
      const answers = await Promise.all([refresh(refresh_token), refresh(refresh_token)]);
      const [winner, loser] = answers.sort((a, b) => a.status - b.status);
      expect(winner?.status).toBe(200);
      if (loser) expectProblem(loser, 'already_refreshed');
      expect(await statusOf(winner?.body.access_token ?? '')).toBe(200);
      expect((await refresh(winner?.body.refresh_token ?? '')).status).toBe(200);
    }
  });

  it('S12: let exactly one of many refreshes at once win, wherever they arrive', async () => {
    const { url } = await world.join('api');
    const there = anonymousClient(url as string);
    for (let round = 0; round < 5; round++) {
      const { refresh_token } = await login();
      const clients = [world.anonymous, there, world.anonymous, there, world.anonymous, there];
      const answers = await Promise.all(
        clients.map((client) => client.request<Pair>('POST', '/api/v1/auth/refresh', { refresh_token })),
      );
      const winners = answers.filter(({ status }) => status === 200);
      expect(winners).toHaveLength(1);
      for (const answer of answers) if (answer !== winners[0]) expectProblem(answer, 'already_refreshed');
      expect(await statusOf(winners[0]?.body.access_token ?? '', url)).toBe(200);
    }
  });

  it('give nothing to whoever repeats a refresh within the grace, and end when it is repeated after it', async () => {
    const first = await login();
    const second = (await refresh(first.refresh_token)).body;
    const repeated = await refresh(first.refresh_token);
    expectProblem(repeated, 'already_refreshed');
    expect(JSON.stringify(repeated.body)).not.toMatch(/token"/);
    await age(second.access_token);
    expectProblem(await refresh(first.refresh_token), 'invalid_token');
    expect(await statusOf(second.access_token)).toBe(401);
  });

  it('are not ended by tokens that were never given out', async () => {
    const { access_token, refresh_token } = await login();
    const [sid = '', random = '', seal = ''] = refresh_token.split('.');
    const other = (await login()).refresh_token.split('.');
    const forged = [
      '',
      'x',
      sid,
      `${sid}.${random}`,
      `${sid}.${random}.`,
      `${sid}.${random}x.${seal}`,
      `${other[0]}.${random}.${seal}`,
      `${sid}.${other[1]}.${other[2]}`,
      access_token.slice(0, 200),
    ];
    for (const token of forged) expectProblem(await refresh(token), 'invalid_token');
    expect((await refresh(refresh_token)).status).toBe(200);
  });

  it('S13: cannot be refreshed after logout, nor when the account is off or the time is over', async () => {
    const out = await login();
    const headers = { authorization: `Bearer ${out.access_token}` };
    expect((await world.anonymous.request('POST', '/api/v1/auth/logout', undefined, headers)).status).toBe(204);
    const off = await login();
    await world.db
      .updateTable('users')
      .set({ is_active: false })
      .where('id', '=', (off.user as { id: string }).id)
      .execute();
    const late = await login();
    await world.db
      .updateTable('user_sessions')
      .set({ expires_at: new Date(0) })
      .where('id', '=', sidOf(late.access_token))
      .execute();
    for (const { refresh_token } of [out, off, late]) expectProblem(await refresh(refresh_token), 'invalid_token');
  });

  it('are known to be ended in every process within a second of the logout', async () => {
    const other = await world.join('api');
    const { access_token } = await login();
    const bystander = await login();
    const url = other.url as string;
    expect([await statusOf(access_token), await statusOf(access_token, url)]).toEqual([200, 200]);
    const answer = await fetch(`${url}/api/v1/auth/logout`, {
      method: 'POST',
      headers: { authorization: `Bearer ${access_token}` },
    });
    expect([answer.status, await answer.text()]).toEqual([204, '']);
    expect(await statusOf(access_token, url)).toBe(401);
    await expect.poll(() => statusOf(access_token), { timeout: 1000, interval: 20 }).toBe(401);
    for (const at of [world.url, url]) expect(await statusOf(bystander.access_token, at)).toBe(200);
    const later = await world.join('api');
    expect(await statusOf(access_token, later.url)).toBe(401);
  });

  it('S15: leave nothing in the database that opens them', async () => {
    const { access_token, refresh_token } = await login();
    const row = await sessionOf(access_token);
    expect(row.token_hash).toHaveLength(32);
    const stored = JSON.stringify({ ...row, token_hash: row.token_hash.toString('base64url') });
    for (const part of [...refresh_token.split('.').slice(1), access_token]) expect(stored).not.toContain(part);
    expectProblem(await refresh(row.token_hash.toString('base64url')), 'invalid_token');
  });
});

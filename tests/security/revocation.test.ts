import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPrincipals } from '../../src/api/auth/principals.ts';
import { createTokens } from '../../src/api/auth/tokens.ts';
import { loadConfig } from '../../src/config.ts';
import type { Db } from '../../src/db/connect.ts';
import { openNotifications } from '../../src/db/notify.ts';
import { IDENTITY_CHANNEL } from '../../src/db/principals.ts';
import { createLog } from '../../src/log.ts';
import { updateUser } from '../support/accounts.ts';
import { fixedKeys } from '../support/keys.ts';
import { breakListeners } from '../support/listeners.ts';
import { expectProblem, type Problem } from '../support/problem.ts';
import { startRelay } from '../support/relay.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, createWorld, type World } from '../support/world.ts';

const ME = '/api/v1/auth/me';

describe('tokens', () => {
  let world: World;
  let urls: string[];
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    urls = [world.url, (await world.join('api')).url as string];
  });
  afterAll(() => world.close());

  async function statusesOf(token: string): Promise<number[]> {
    const answers = await Promise.all(
      urls.map((url) => fetch(url + ME, { headers: { authorization: `Bearer ${token}` } })),
    );
    await Promise.all(answers.map((answer) => answer.arrayBuffer()));
    return answers.map(({ status }) => status);
  }
  const withinASecond = { timeout: 1000, interval: 20 };
  async function expectEverywhere(token: string, status: number) {
    await expect.poll(() => statusesOf(token), withinASecond).toEqual(urls.map(() => status));
  }
  async function login(username: string) {
    const { body } = await world.anonymous.request<{ access_token: string; refresh_token: string }>(
      'POST',
      '/api/v1/auth/login',
      { username, password: ADMIN_PASSWORD },
    );
    return body;
  }
  const refresh = (refresh_token: string) => world.anonymous.request('POST', '/api/v1/auth/refresh', { refresh_token });
  const without = (name: string) => world.db.deleteFrom('users').where('username', '=', name).execute();

  it.each([
    ['the account is switched off', (name: string) => updateUser(world.db, name, { is_active: false })],
    ['the role is taken down', (name: string) => updateUser(world.db, name, { role: 'viewer' })],
    ['the role is raised', (name: string) => updateUser(world.db, name, { role: 'admin' })],
    ['the account is deleted', without],
  ])('S13, S14: of both kinds end in every process within a second when %s', async (_, change) => {
    const { username } = await world.client('operator');
    const [pair, bystander] = [await login(username), await world.client()];
    for (const token of [pair.access_token, bystander.token as string]) await expectEverywhere(token, 200);
    await change(username);
    await expectEverywhere(pair.access_token, 401);
    expectProblem(await refresh(pair.refresh_token), 'invalid_token');
    await expectEverywhere(bystander.token as string, 200);
  });

  it('S14: of an account that is switched off and on again stay dead, and it can log in anew', async () => {
    const { username, token = '' } = await world.client();
    await expectEverywhere(token, 200);
    await updateUser(world.db, username, { is_active: false });
    await updateUser(world.db, username, { is_active: true });
    await expectEverywhere(token, 401);
    await expectEverywhere((await login(username)).access_token, 200);
  });

  it('S14: carry the new role after it was changed and somebody logged in again', async () => {
    const { username, token = '' } = await world.client('admin');
    await updateUser(world.db, username, { role: 'user' });
    await expectEverywhere(token, 401);
    const { access_token } = await login(username);
    const answer = await world.anonymous.request(
      'POST',
      '/api/v1/tasks',
      { type: 'echo' },
      { authorization: `Bearer ${access_token}` },
    );
    expect(answer.status).toBe(422);
    const { body } = await world.anonymous.request<{ role: string }>('GET', ME, undefined, {
      authorization: `Bearer ${access_token}`,
    });
    expect(body.role).toBe('user');
  });

  it('stay good when nothing of the account changes but its address and the time of the last login', async () => {
    const { username, token = '' } = await world.client();
    await expectEverywhere(token, 200);
    await updateUser(world.db, username, { email: `${username}@example.org`, last_login_at: new Date(), role: 'user' });
    await expectEverywhere(token, 200);
  });

  it('are looked up again after the connection that hears of their end broke', async () => {
    const { token = '', userId } = await world.client();
    await expectEverywhere(token, 200);
    await revokeSilently(world.db, userId);
    expect(await statusesOf(token)).toEqual([200, 200]);
    await breakListeners(world.db);
    expect(await statusesOf(token)).toEqual([401, 401]);
  });
});

/** Ends the sessions of a user while nobody is told, as when the word was said and nobody heard. */
async function revokeSilently(db: Db, userId: string): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await sql`set local session_replication_role = replica`.execute(trx);
    await sql`update user_sessions set revoked_at = now() where user_id = ${userId}`.execute(trx);
  });
}

it('tokens are looked up each time while nothing can be heard of their end', async () => {
  const world = await createWorld({ mode: 'api' });
  const relay = await startRelay(world.databaseUrl);
  const log = createLog('silent');
  const notifications = await openNotifications(relay.url, [IDENTITY_CHANNEL], log);
  const tokens = createTokens(loadConfig(world.env).auth, fixedKeys(world.env.JWT_SECRET_KEY as string));
  const principals = createPrincipals({ db: world.db, tokens, notifications, log });
  const { token = '', userId } = await world.client();
  expect(await principals.ofToken(token)).toMatchObject({ userId });
  await revokeSilently(world.db, userId);
  expect(await principals.ofToken(token)).toMatchObject({ userId });
  relay.cut();
  await until('the connection is known to be away', () => !notifications.connected());
  expect(await principals.ofToken(token)).toBeUndefined();
  await principals.close();
  await notifications.close();
  await relay.close();
  await world.close();
});

it('S49: without the database a token stays good where it was good before, and opens nothing where it was not', async () => {
  const world = await createWorld({ mode: 'api' });
  const relay = await startRelay(world.databaseUrl);
  const { url } = await world.join('api', { DATABASE_URL: relay.url });
  const [seen, unseen] = [await world.client(), await world.client()];
  const ask = async (token = '') => {
    const answer = await fetch(`${url}/api/v1/task-types`, { headers: { authorization: `Bearer ${token}` } });
    return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Problem };
  };
  expect((await ask(seen.token)).status).toBe(200);
  relay.cut();
  expect((await ask(seen.token)).status).toBe(200);
  expectProblem(await ask(unseen.token), 'temporary-reduced-capacity');
  expectProblem(await ask(`${seen.token}x`), 'invalid_token');

  await updateUser(world.db, seen.username, { is_active: false });
  expect((await ask(seen.token)).status).toBe(200);
  relay.mend();
  await expect.poll(async () => (await ask(seen.token)).status).toBe(401);
  expect((await ask(unseen.token)).status).toBe(200);
  await world.close();
  await relay.close();
});

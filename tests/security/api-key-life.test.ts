import { Kysely, PostgresDialect } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPrincipals } from '../../src/api/auth/principals.ts';
import { createTokens } from '../../src/api/auth/tokens.ts';
import { loadConfig } from '../../src/config.ts';
import { createPool, type Db } from '../../src/db/connect.ts';
import { openNotifications } from '../../src/db/notify.ts';
import { IDENTITY_CHANNEL } from '../../src/db/principals.ts';
import type { Database } from '../../src/db/schema.ts';
import { createLog } from '../../src/log.ts';
import { updateUser } from '../support/accounts.ts';
import { API_KEYS, makeKey } from '../support/api-keys.ts';
import { fixedKeys } from '../support/keys.ts';
import { expectProblem, type Problem } from '../support/problem.ts';
import { startRelay } from '../support/relay.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

describe('an API key', () => {
  let world: World;
  let urls: string[];
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    urls = [world.url, (await world.join('api')).url as string];
  });
  afterAll(() => world.close());

  async function expectEverywhere(key: string, status: number) {
    const statuses = () =>
      Promise.all(
        urls.map(async (url) => {
          const answer = await fetch(`${url}/api/v1/task-types`, { headers: { 'x-api-key': key } });
          await answer.arrayBuffer();
          return answer.status;
        }),
      );
    await expect.poll(statuses, { timeout: 1000, interval: 20 }).toEqual(urls.map(() => status));
  }
  const remove = (owner: Client) => world.db.deleteFrom('users').where('id', '=', owner.userId).execute();

  it.each<[string, (owner: Client, id: string) => Promise<unknown>]>([
    ['is revoked', (owner, id) => owner.request('DELETE', `${API_KEYS}/${id}`)],
    ['loses its owner', remove],
    ['belongs to somebody who is switched off', (owner) => updateUser(world.db, owner.username, { is_active: false })],
  ])('is dead in every process within a second when it %s', async (_, end) => {
    const owner = await world.client();
    const [{ key, id }, bystander] = [await makeKey(owner), await makeKey(await world.client())];
    for (const one of [key, bystander.key]) await expectEverywhere(one, 200);
    await end(owner, id);
    await expectEverywhere(key, 401);
    await expectEverywhere(bystander.key, 200);
  });

  it('lives again when its owner is switched on again, but not when it was revoked', async () => {
    const owner = await world.client();
    const [kept, revoked] = [await makeKey(owner), await makeKey(owner)];
    for (const { key } of [kept, revoked]) await expectEverywhere(key, 200);
    await owner.request('DELETE', `${API_KEYS}/${revoked.id}`);
    await updateUser(world.db, owner.username, { is_active: false });
    for (const { key } of [kept, revoked]) await expectEverywhere(key, 401);
    await updateUser(world.db, owner.username, { is_active: true });
    await expectEverywhere(kept.key, 200);
    await expectEverywhere(revoked.key, 401);
  });

  it('ends at its time, also where it is remembered', async () => {
    const owner = await world.client();
    const end = Date.now() + 3_000;
    const { key } = await makeKey(owner, { expires_at: new Date(end).toISOString() });
    await expectEverywhere(key, 200);
    await until('its time', () => Date.now() > end);
    await expectEverywhere(key, 401);
  });

  it('has its last use written down, by whichever process it was used at, once a minute', async () => {
    const owner = await world.client();
    const { key, id } = await makeKey(owner);
    const lastUse = async () => {
      const { body } = await owner.request<{ data: Array<{ id: string; last_used_at: string | null }> }>(
        'GET',
        API_KEYS,
      );
      return body.data.find((one) => one.id === id)?.last_used_at ?? null;
    };
    expect(await lastUse()).toBeNull();
    await expectEverywhere(key, 200);
    const first = await until('the use is written', lastUse);
    expect(Math.abs(Date.now() - Date.parse(first as string))).toBeLessThan(5_000);
    for (let count = 0; count < 3; count++) await expectEverywhere(key, 200);
    expect(await lastUse()).toBe(first);
    const longAgo = new Date(Date.now() - 61_000);
    await world.db.updateTable('api_keys').set({ last_used_at: longAgo }).where('id', '=', id).execute();
    const { url } = await world.join('api');
    urls.push(url as string);
    await expectEverywhere(key, 200);
    await until('the later use is written', async () => Date.parse((await lastUse()) as string) > longAgo.getTime());
  });
});

describe('finding out whose API key it is', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
  });
  afterAll(() => world.close());
  const log = createLog('silent');
  const tokens = () => createTokens(loadConfig(world.env).auth, fixedKeys(world.env.JWT_SECRET_KEY as string));

  it('takes one query for many requests, not one for each', async () => {
    const { key } = await makeKey(await world.client());
    const queries: string[] = [];
    const pool = createPool({ url: world.databaseUrl, max: 2, name: 'test', log });
    const db: Db = new Kysely<Database>({
      dialect: new PostgresDialect({ pool }),
      log: ({ query }) => void queries.push(query.sql.trim().slice(0, 6)),
    });
    const notifications = await openNotifications(world.databaseUrl, [IDENTITY_CHANNEL], log);
    const principals = createPrincipals({ db, tokens: tokens(), notifications, log });
    await Promise.all(Array.from({ length: 50 }, () => principals.ofKey(key)));
    await until('the use is written', () => queries.filter((verb) => verb === 'update').length === 2);
    for (let count = 0; count < 50; count++) expect(await principals.ofKey(key)).toBeDefined();
    await principals.close();
    await notifications.close();
    await db.destroy();
    expect(queries.filter((verb) => verb === 'select').length).toBeLessThan(4);
    expect(queries.filter((verb) => verb === 'update')).toHaveLength(2);
  });

  it('S49: is not done from memory while the database is away: the answer is 503', async () => {
    const relay = await startRelay(world.databaseUrl);
    const { url } = await world.join('api', { DATABASE_URL: relay.url });
    const { key } = await makeKey(await world.client());
    const ask = async () => {
      const answer = await fetch(`${url}/api/v1/task-types`, { headers: { authorization: `Bearer ${key}` } });
      return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Problem };
    };
    expect((await ask()).status).toBe(200);
    relay.cut();
    await expect.poll(async () => (await ask()).status).toBe(503);
    expectProblem(await ask(), 'temporary-reduced-capacity');
    relay.mend();
    await expect.poll(async () => (await ask()).status).toBe(200);
    await relay.close();
  });
});

import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { kidOf, rotateSigningKey } from '../../src/api/auth/signing-keys.ts';
import { createTokens } from '../../src/api/auth/tokens.ts';
import { loadConfig } from '../../src/config.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { fixedKeys } from '../support/keys.ts';
import { breakListeners } from '../support/listeners.ts';
import { spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, createWorld, type World } from '../support/world.ts';

interface Pair {
  access_token: string;
  refresh_token: string;
}

const NEW_SECRET = 'a new secret of this test, long enough to be one';

describe('S10: the keys of access tokens', () => {
  let world: World;
  let urls: string[];
  beforeEach(async () => {
    world = await createWorld({ mode: 'api' });
    urls = [world.url, (await world.join('api')).url as string];
  });
  afterEach(() => world.close());

  const kidIn = (token: string) => JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid;
  async function post(path: string, body: object, url = world.url) {
    const answer = await fetch(`${url}/api/v1/auth/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: answer.status, body: (await answer.json()) as Pair };
  }
  const login = async (url?: string) =>
    (await post('login', { username: 'admin', password: ADMIN_PASSWORD }, url)).body;
  const refresh = ({ refresh_token }: Pair, url?: string) => post('refresh', { refresh_token }, url);
  async function statusesOf({ access_token }: Pair): Promise<number[]> {
    return Promise.all(
      urls.map(async (url) => {
        const answer = await fetch(`${url}/api/v1/auth/me`, { headers: { authorization: `Bearer ${access_token}` } });
        await answer.arrayBuffer();
        return answer.status;
      }),
    );
  }
  async function expectEverywhere(pair: Pair, status: number, timeout = 1000) {
    await expect.poll(() => statusesOf(pair), { timeout, interval: 20 }).toEqual(urls.map(() => status));
  }
  async function command(args: string[], env: Record<string, string> = {}) {
    const sutazai = spawnSutazai(['secrets', 'rotate', 'jwt', ...args], { ...world.env, ...env });
    return { code: await sutazai.ended, output: sutazai.output() };
  }
  const box = () => createSecretBox(world.env.ENCRYPTION_KEY as string);
  const rotate = (overlapSeconds: number, secret?: string) =>
    rotateSigningKey({ db: world.db, box: box(), overlapSeconds }, secret);

  it('are rotated in running processes without a failed request', async () => {
    const [first, failed] = [await login(), [] as number[]];
    let [going, count] = [true, 0];
    const traffic = urls.map(async (url) => {
      let pair = await login(url);
      for (; going; count++) {
        const answers = [await statusesOf(pair), await statusesOf(first)].flat();
        const next = await refresh(pair, url);
        failed.push(...[...answers, next.status].filter((status) => status !== 200));
        pair = next.body;
      }
      return pair;
    });
    await until('there is traffic', () => count > 4);
    const { code, output } = await command(['--random']);
    expect([code, output]).toEqual([0, expect.stringMatching(/^the key [0-9a-f]{12} signs .* for 31 minutes more\n$/)]);
    const seen = count;
    await until('there was traffic since', () => count > seen + 4);
    going = false;
    const after = await Promise.all(traffic);
    expect(failed).toEqual([]);
    for (const { access_token } of after) expect(output).toContain(kidIn(access_token));
    expect(kidIn(first.access_token)).toBe(kidOf(world.env.JWT_SECRET_KEY as string));
  });

  it('are taken until their window ends, and sessions live on', async () => {
    const old = await login();
    await expectEverywhere(old, 200);
    const kid = await rotate(3);
    // The process hears of it a moment later.
    const young = await until('the new one signs', async () => {
      const pair = await login();
      return kidIn(pair.access_token) === kid && pair;
    });
    expect([await statusesOf(young), await statusesOf(old)].flat()).toEqual([200, 200, 200, 200]);
    await expectEverywhere(old, 401, 5_000);
    await expectEverywhere(young, 200);
    const renewed = await refresh(old);
    expect([renewed.status, kidIn(renewed.body.access_token)]).toEqual([200, kid]);
    await expectEverywhere(renewed.body, 200);
  });

  it('give way to one key alone, also where another is put in their place at the same moment', async () => {
    const waits = async () =>
      (await sql`select from pg_locks where relation = 'signing_keys'::regclass and not granted`.execute(world.db)).rows
        .length > 0;
    const rotating = await world.db.transaction().execute(async (other) => {
      const key = { kid: kidOf(NEW_SECRET), secret: box().seal(NEW_SECRET) };
      await other.insertInto('signing_keys').values(key).execute();
      const rotation = rotate(60);
      await Promise.race([rotation, until('the rotation waits for the other', waits)]);
      return { rotation };
    });
    const kid = await rotating.rotation;
    const keys = await world.db.selectFrom('signing_keys').select('kid').where('retires_at', 'is', null).execute();
    expect(keys).toEqual([{ kid }]);
  });

  it('are dead at once where that is wanted, also for tokens that were seen before', async () => {
    const old = await login();
    await expectEverywhere(old, 200);
    expect((await command(['--random', '--at-once'])).code).toBe(0);
    await expectEverywhere(old, 401);
    await expectEverywhere((await refresh(old)).body, 200);
  });

  it('are the stored ones for a process that starts later with a key that was replaced', async () => {
    const kid = await rotate(60);
    const { url } = await world.join('api');
    urls.push(url as string);
    const pair = await login(url);
    expect(kidIn(pair.access_token)).toBe(kid);
    await expectEverywhere(pair, 200);
  });

  it('come from JWT_SECRET_KEY where that is new: at a start, or by the command, with no restart', async () => {
    const old = await login();
    const started = await world.join('api', { JWT_SECRET_KEY: NEW_SECRET });
    urls.push(started.url as string);
    await expect.poll(async () => kidIn((await login()).access_token)).toBe(kidOf(NEW_SECRET));
    for (const url of urls) await expectEverywhere(await login(url), 200);
    await expectEverywhere(old, 200);

    const another = `${NEW_SECRET}, and another`;
    const { code, output } = await command([], { JWT_SECRET_KEY: another });
    expect([code, output]).toEqual([0, expect.stringContaining(kidOf(another))]);
    await expect.poll(async () => kidIn((await login()).access_token)).toBe(kidOf(another));
  });

  it('are not rotated to one that was there before, nor sealed with another ENCRYPTION_KEY', async () => {
    const known = await command([]);
    expect([known.code, known.output]).toEqual([
      1,
      expect.stringContaining('JWT_SECRET_KEY is, or was, a signing key'),
    ]);
    const other = { ENCRYPTION_KEY: Buffer.alloc(32, 9).toString('base64') };
    const foreign = await command(['--random'], other);
    expect([foreign.code, foreign.output]).toEqual([1, expect.stringContaining('another ENCRYPTION_KEY')]);
    await expect(world.join('api', other)).rejects.toThrow('another ENCRYPTION_KEY');
    const nothing = await command(['--random'], { ENCRYPTION_KEY: '', DATA_DIR: '/nonexistent' });
    expect([nothing.code, nothing.output]).toEqual([1, expect.stringContaining('ENCRYPTION_KEY are wanted')]);
    expect(kidIn((await login()).access_token)).toBe(kidOf(world.env.JWT_SECRET_KEY as string));
  });

  it('are looked up when a token names one that nobody told of', async () => {
    const { access_token } = await login();
    const { sub, sid, name, role } = JSON.parse(Buffer.from(access_token.split('.')[1] ?? '', 'base64url').toString());
    const tokens = createTokens(loadConfig(world.env).auth, fixedKeys(NEW_SECRET));
    const pair = {
      access_token: await tokens.issue({ userId: sub, sessionId: sid, username: name, role }),
      refresh_token: '',
    };
    await expectEverywhere(pair, 401);
    const row = { kid: kidOf(NEW_SECRET), secret: box().seal(NEW_SECRET) };
    await world.db.insertInto('signing_keys').values(row).execute();
    await expectEverywhere(pair, 200, 3_000);
  });

  it('are read again after the connection that hears of them broke', async () => {
    const old = await login();
    await expectEverywhere(old, 200);
    // Nobody is told, as when the word was said while nobody heard.
    const row = { kid: kidOf(NEW_SECRET), secret: box().seal(NEW_SECRET) };
    await world.db.updateTable('signing_keys').set({ retires_at: new Date() }).execute();
    await world.db.insertInto('signing_keys').values(row).execute();
    await expectEverywhere(old, 200);
    await breakListeners(world.db);
    await expectEverywhere(old, 401);
    expect(kidIn((await login()).access_token)).toBe(row.kid);
  });

  it('S15: are nowhere in the database as they are', async () => {
    await rotate(60, NEW_SECRET);
    const rows = await world.db.selectFrom('signing_keys').selectAll().execute();
    expect(rows).toHaveLength(2);
    for (const secret of [NEW_SECRET, world.env.JWT_SECRET_KEY as string])
      for (const row of rows) expect(row.secret.includes(secret.slice(0, 12))).toBe(false);
  });
});

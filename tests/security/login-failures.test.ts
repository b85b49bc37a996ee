import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failFrom, logInFrom, storeAccount } from '../support/logins.ts';
import { expectProblem, textOf } from '../support/problem.ts';
import { type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { createWorld, type World } from '../support/world.ts';

const HOME = '198.51.100.7';
const ATTACKER = '203.0.113.66';
const ELSEWHERE = '192.0.2.44';
const ten = (status: number) => Array<number>(10).fill(status);

describe('logins that fail', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { TRUSTED_PROXIES: '127.0.0.1' } });
  });
  afterAll(() => world.close());
  const wait = async (minutes: number) =>
    sql`update login_failures set last_at = last_at - ${minutes}::int * interval '1 minute'`.execute(world.db);

  it('S18: are ten for an account; then it is refused, also with the right password, and told when to come again', async () => {
    const account = await storeAccount(world);
    expect(await failFrom(world, ATTACKER, account, 11)).toEqual([...ten(401), 429]);
    const refused = await logInFrom(world, ATTACKER, account);
    const problem = expectProblem(refused, 'quota-exceeded');
    expect(problem['violated-policies']).toEqual(['failed_logins']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(800);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(900);
  });

  it('S17: are refused in the same way whether there is such an account or not', async () => {
    const account = await storeAccount(world);
    const nobody = { username: `n${account.username}` };
    expect(await failFrom(world, ATTACKER, nobody, 11)).toEqual([...ten(401), 429]);
    expect(await failFrom(world, ATTACKER, account, 11)).toEqual([...ten(401), 429]);
    const [one, other] = [await logInFrom(world, ATTACKER, nobody), await logInFrom(world, ATTACKER, account)];
    const said = (answer: typeof one) => {
      const problem = expectProblem(answer, 'quota-exceeded');
      return textOf({ ...problem, request_id: '' });
    };
    expect(said(one)).toBe(said(other));
    expect([...one.headers.keys()]).toEqual([...other.headers.keys()]);
  });

  it('S18: of strangers do not keep the owner out where the account was logged in from before', async () => {
    const account = await storeAccount(world);
    expect((await logInFrom(world, HOME, account)).status).toBe(200);
    expect(await failFrom(world, ATTACKER, account, 11)).toEqual([...ten(401), 429]);
    expect((await logInFrom(world, ELSEWHERE, account)).status).toBe(429);
    expect((await logInFrom(world, HOME, account)).status).toBe(200);
  });

  it('S18: at home are counted apart, and forgotten with a success', async () => {
    const account = await storeAccount(world);
    await logInFrom(world, HOME, account);
    expect(await failFrom(world, HOME, account, 9)).toEqual(ten(401).slice(1));
    expect((await logInFrom(world, HOME, account)).status).toBe(200);
    expect(await failFrom(world, HOME, account, 11)).toEqual([...ten(401), 429]);
    expect((await logInFrom(world, HOME, account)).status).toBe(429);
    expect((await logInFrom(world, ELSEWHERE, account)).status).toBe(200);
    expect((await logInFrom(world, ELSEWHERE, account)).status).toBe(200);
  });

  it('S18: of strangers are one account whatever address they have, and none of them makes good for the others', async () => {
    const account = await storeAccount(world);
    for (let host = 1; host <= 9; host++) expect(await failFrom(world, `203.0.113.${host}`, account, 1)).toEqual([401]);
    expect((await logInFrom(world, ELSEWHERE, account)).status).toBe(200);
    expect(await failFrom(world, '203.0.113.10', account, 1)).toEqual([401]);
    expect(await failFrom(world, '203.0.113.11', account, 1)).toEqual([429]);
  });

  it('S18: cost longer each time, but never more than an hour, and are forgotten after a day', async () => {
    const account = await storeAccount(world);
    await failFrom(world, ATTACKER, account, 10);
    const seconds = async () => Number((await logInFrom(world, ATTACKER, account)).headers.get('retry-after'));
    for (const minutes of [15, 30, 60, 60, 60]) {
      const now = await seconds();
      expect(now).toBeGreaterThan(minutes * 60 - 30);
      expect(now).toBeLessThanOrEqual(minutes * 60);
      await wait(minutes);
      expect(await failFrom(world, ATTACKER, account, 2)).toEqual([401, 429]);
    }
    await wait(60 * 24);
    expect(await failFrom(world, ATTACKER, account, 11)).toEqual([...ten(401), 429]);
    await wait(15);
    expect((await logInFrom(world, ELSEWHERE, account)).status).toBe(200);
  });

  it('S18: that went on for months are still waited for an hour, and no longer', async () => {
    const account = await storeAccount(world);
    await failFrom(world, ATTACKER, account, 10);
    await sql`update login_failures set failures = 30000`.execute(world.db);
    expect(await failFrom(world, ATTACKER, account, 1)).toEqual([429]);
    await wait(60);
    expect(await failFrom(world, ATTACKER, account, 2)).toEqual([401, 429]);
  });

  it('S18: that are fewer than ten are forgotten after a quarter of an hour', async () => {
    const account = await storeAccount(world);
    await failFrom(world, ATTACKER, account, 9);
    await wait(16);
    expect(await failFrom(world, ATTACKER, account, 11)).toEqual([...ten(401), 429]);
  });

  it('S18: are ten also where they come at the same moment', async () => {
    const account = await storeAccount(world);
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, at) => logInFrom(world, ATTACKER, account, { password: `wrong ${at}` })),
    );
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(10);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(30);
  });

  it('S19: are of one account in every spelling of its names', async () => {
    const { username, email } = await storeAccount(world);
    // The sign for kelvin is a k in lower case.
    const names = [
      ...[username, username.toUpperCase(), `\u212a${username.slice(1)}`].map((name) => ({ username: name })),
      ...[email, email.toUpperCase(), `\u212a${email.slice(1)}`].map((name) => ({ email: name })),
    ];
    for (const login of [...names, ...names.slice(0, 4)])
      expect(await failFrom(world, ATTACKER, login, 1)).toEqual([401]);
    for (const login of names) expect(await failFrom(world, ATTACKER, login, 1)).toEqual([429]);
  });

  it('S19: of names that nobody has are counted in every spelling too', async () => {
    const { username } = await storeAccount(world);
    const spellings = [`n${username}`, `N${username}`, ` n${username} `, `ｎ${username}`];
    for (let time = 0; time < 10; time++)
      expect(await failFrom(world, ATTACKER, { username: spellings[time % 4] as string }, 1)).toEqual([401]);
    for (const name of spellings) expect(await failFrom(world, ATTACKER, { username: name }, 1)).toEqual([429]);
  });

  it('S19: are of one network wherever they come from in a /64', async () => {
    const account = await storeAccount(world);
    expect((await logInFrom(world, '2001:db8:7:7::1', account)).status).toBe(200);
    for (let host = 1; host <= 10; host++)
      expect(await failFrom(world, `2001:db8:7:7:${host}::${host}`, account, 1)).toEqual([401]);
    expect(await failFrom(world, '2001:db8:7:7:ffff::1', account, 1)).toEqual([429]);
    expect((await logInFrom(world, '2001:db8:7:8::1', account)).status).toBe(200);
  });

  it('S19: are known to a process that starts later', async () => {
    const account = await storeAccount(world);
    await failFrom(world, ATTACKER, account, 10);
    const url = (await world.join('api')).url as string;
    expect((await logInFrom(world, ATTACKER, account, { url })).status).toBe(429);
  });

  it('leave no name behind', async () => {
    const { username } = await storeAccount(world);
    await failFrom(world, ATTACKER, { username: `n${username}` }, 1);
    const rows = await world.db.selectFrom('login_failures').selectAll().execute();
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.every(({ target }) => target.length === 32)).toBe(true);
  });
});

describe('logins that fail, with Redis down', () => {
  let redis: PrivateRedis;
  let world: World;
  beforeAll(async () => {
    redis = await startPrivateRedis();
    const env = { TRUSTED_PROXIES: '127.0.0.1', REDIS_URL: redis.url };
    world = await createWorld({ backend: 'redis', mode: 'api', env });
  });
  afterAll(async () => {
    await redis.start();
    await world.close();
    await redis.close();
  });

  it('S19: are counted all the same', async () => {
    const account = await storeAccount(world);
    expect(await failFrom(world, ATTACKER, account, 5)).toEqual(ten(401).slice(5));
    await redis.signal('SIGKILL');
    expect(await failFrom(world, ATTACKER, account, 6)).toEqual([...ten(401).slice(5), 429]);
  });
});

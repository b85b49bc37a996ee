import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Account, LOGIN, logInFrom, storeAccount } from '../support/logins.ts';
import { expectProblem, textOf } from '../support/problem.ts';
import { ADMIN_PASSWORD, createWorld, type World } from '../support/world.ts';

const ELSEWHERE = '192.0.2.44';
const COST = 6;
const SAMPLES = 70;

describe('a login that fails', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api', env: { TRUSTED_PROXIES: '127.0.0.1', BCRYPT_COST: String(COST) } });
  });
  afterAll(() => world.close());

  const kinds: Record<string, (account: () => Promise<Account>) => Promise<{ username: string; password: string }>> = {
    'a wrong password': async (account) => ({ username: (await account()).username, password: 'wrong' }),
    'a name that nobody has': async (account) => ({ username: `n${(await account()).username}`, password: 'wrong' }),
    'an account that is switched off': async () => ({
      username: (await storeAccount(world, { cost: COST, active: false })).username,
      password: ADMIN_PASSWORD,
    }),
    'a password that is too long': async (account) => ({
      username: (await account()).username,
      password: `${ADMIN_PASSWORD}${'x'.repeat(5_000)}`,
    }),
    'a hash from when they cost less': async () => ({
      username: (await storeAccount(world, { cost: COST - 2 })).username,
      password: 'wrong',
    }),
  };

  it('S17: says the same and takes the same time, whatever is wrong', async () => {
    const account = () => storeAccount(world, { cost: COST });
    const names = Object.keys(kinds);
    const times = new Map(names.map((name) => [name, [] as number[]]));
    const said = new Set<string>();
    for (let sample = -5; sample < SAMPLES; sample++) {
      // Each time in another order, so that what slows the machine down slows all of them down.
      for (let at = 0; at < names.length; at++) {
        const name = names[(at + sample + 5) % names.length] as string;
        const { username, password } = await (kinds[name] as (typeof kinds)[string])(account);
        const started = performance.now();
        const answer = await logInFrom(world, ELSEWHERE, { username }, { password });
        if (sample >= 0) times.get(name)?.push(performance.now() - started);
        const problem = expectProblem(answer, 'invalid_credentials');
        said.add(`${textOf({ ...problem, request_id: '' })} ${[...answer.headers.keys()].sort()}`);
      }
    }
    expect([...said]).toHaveLength(1);
    const [first = '', ...others] = names;
    for (const other of others) {
      const slower = chanceOfSlower(times.get(other) ?? [], times.get(first) ?? []);
      // Equal distributions give 0.5 with a deviation of 0.05; work that is left out or added gives 0 or 1.
      expect(slower, `${other} is slower than ${first}`).toBeGreaterThan(0.25);
      expect(slower, `${other} is slower than ${first}`).toBeLessThan(0.75);
    }
  });

  it('S16: has the hash made again, at the cost of now, once it succeeds', async () => {
    const account = await storeAccount(world, { cost: COST - 2 });
    const stored = async () =>
      (
        await world.db
          .selectFrom('users')
          .select('password_hash')
          .where('id', '=', account.id)
          .executeTakeFirstOrThrow()
      ).password_hash;
    const before = await stored();
    expect((await logInFrom(world, ELSEWHERE, account, { password: 'wrong' })).status).toBe(401);
    expect(await stored()).toBe(before);
    expect((await logInFrom(world, ELSEWHERE, account)).status).toBe(200);
    const after = await stored();
    expect(after.slice(0, 7)).toMatch(/^\$2[aby]\$06\$$/);
    expect((await logInFrom(world, ELSEWHERE, account)).status).toBe(200);
    expect(await stored()).toBe(after);
  });

  it('S20: does not hold up anything else when a hundred come at once; who finds no place is told to come again', async () => {
    const slow = await createWorld({ mode: 'api', env: { BCRYPT_COST: '9' } });
    try {
      const account = await storeAccount(slow, { cost: 9 });
      const [mine, all] = [process.threadCpuUsage(), process.cpuUsage()];
      const answers = await Promise.all(Array.from({ length: 100 }, () => logInFrom(slow, '', account)));
      const share = total(process.threadCpuUsage(mine)) / total(process.cpuUsage(all));
      const refused = answers.filter(({ status }) => status === 503);
      expect(answers.filter(({ status }) => status === 200).length + refused.length).toBe(100);
      expect(refused.length).toBeGreaterThan(0);
      for (const answer of refused) {
        expectProblem(answer, 'temporary-reduced-capacity');
        expect(answer.headers.get('retry-after')).toBe('2');
      }
      // Hashing takes most of the work, and the thread that serves everybody (and here also asks) has no part in it.
      expect(share).toBeLessThan(0.6);
      // Not to be let in is not to have failed.
      expect(await slow.db.selectFrom('login_failures').selectAll().execute()).toEqual([]);
      expect(
        (await slow.anonymous.request('POST', LOGIN, { username: account.username, password: ADMIN_PASSWORD })).status,
      ).toBe(200);
    } finally {
      await slow.close();
    }
  });
});

const total = ({ user, system }: NodeJS.CpuUsage) => user + system;

/** The chance that one of the first took longer than one of the second (the statistic of Mann and Whitney). */
function chanceOfSlower(ones: number[], others: number[]): number {
  const wins = ones.flatMap((one) => others.map((other) => (one > other ? 1 : one === other ? 0.5 : 0)));
  return wins.reduce((sum: number, win) => sum + win, 0) / wins.length;
}

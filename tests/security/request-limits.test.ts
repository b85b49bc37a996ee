import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { setUserLimits } from '../../src/db/limits.ts';
import { expectProblem } from '../support/problem.ts';
import { type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { anonymousClient, BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const ME = '/api/v1/auth/me';
const standing = (headers: Headers) => {
  const [, remaining, reset] = /^"requests_per_minute";r=(\d+);t=(\d+)$/.exec(headers.get('ratelimit') ?? '') ?? [];
  return { remaining: Number(remaining), reset: Number(reset) };
};
const ask = (client: Client, times: number) =>
  Promise.all(Array.from({ length: times }, () => client.request('GET', ME)));
const allowed = (answers: Array<{ status: number }>) => answers.filter(({ status }) => status === 200).length;

/** A minute that does not end while a test runs. */
function stopTheClock() {
  const now = Date.now();
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(now - (now % 60_000) + 1_000);
}
afterEach(() => void vi.useRealTimers());

describe.each(BACKENDS)('the limit of requests, counted in %s', (backend) => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ backend, mode: 'api', env: { RATE_LIMIT_PER_MINUTE: '20' } });
  });
  afterAll(() => world.close());
  beforeEach(stopTheClock);

  it('lets so many requests of a user through, says so on each answer, and refuses the rest until the minute is over', async () => {
    const user = await world.client();
    const first = await user.request('GET', ME);
    expect(first.headers.get('ratelimit-policy')).toBe('"requests_per_minute";q=20;w=60');
    expect(standing(first.headers)).toEqual({ remaining: 19, reset: 59 });
    expect(allowed(await ask(user, 40))).toBe(19);
    const refused = await user.request('POST', '/api/v1/tasks', 'not even JSON');
    const problem = expectProblem(refused, 'quota-exceeded');
    expect(problem['violated-policies']).toEqual(['requests_per_minute']);
    expect(problem.detail).toContain('20 requests a minute');
    expect(refused.headers.get('retry-after')).toBe('59');
    expect(refused.headers.get('ratelimit-policy')).toBe('"requests_per_minute";q=20;w=60');
    expect(standing(refused.headers)).toEqual({ remaining: 0, reset: 59 });
    expect((await (await world.client()).request('GET', ME)).status).toBe(200);
    vi.setSystemTime(Date.now() + 60_000);
    expect((await user.request('GET', ME)).status).toBe(200);
  });

  it('is told of on every answer of a route that wants a token, errors included', async () => {
    const user = await world.client();
    const answers = [
      await user.request('GET', '/api/v1/tasks/no-such-task'),
      await user.request('POST', '/api/v1/tasks', { type: 'nonsense' }),
      await user.request('GET', '/api/v1/audit'),
    ];
    expect(answers.map(({ status }) => status)).toEqual([404, 422, 403]);
    expect(answers.map(({ headers }) => standing(headers).remaining)).toEqual([19, 18, 17]);
    for (const path of ['/healthz', '/nowhere']) {
      expect((await user.request('GET', path)).headers.get('ratelimit')).toBeNull();
    }
    expect((await world.anonymous.request('GET', ME)).headers.get('ratelimit')).toBeNull();
  });

  it('is one for all processes', async () => {
    const user = await world.client();
    const other = await world.join('api');
    const there = anonymousClient(other.url as string, user.token);
    expect(allowed(await ask(user, 15))).toBe(15);
    const left = await until(
      'the other process has heard',
      async () => {
        const { remaining } = standing((await there.request('GET', ME)).headers);
        return remaining < 5 && { remaining };
      },
      { everyMs: 300 },
    );
    expect(allowed(await ask(there, 20))).toBe(left.remaining);
  });

  it('can be another one for a user, in every process within a second', async () => {
    const user = await world.client();
    expect(standing((await user.request('GET', ME)).headers).remaining).toBe(19);
    await setUserLimits(world.db, user.userId, { requests_per_minute: 3 });
    await until('the limit is known', async () => (await user.request('GET', ME)).status === 429);
    await setUserLimits(world.db, user.userId, { requests_per_minute: 0 });
    await until('there is no limit', async () => (await user.request('GET', ME)).headers.get('ratelimit') === null);
    expect(allowed(await ask(user, 30))).toBe(30);
    await setUserLimits(world.db, user.userId, { requests_per_minute: null });
    await until('it is as before', async () => (await user.request('GET', ME)).headers.get('ratelimit') !== null);
  });
});

describe('the limit of requests, with Redis down', () => {
  let redis: PrivateRedis;
  let world: World;
  beforeAll(async () => {
    redis = await startPrivateRedis();
    world = await createWorld({
      backend: 'redis',
      mode: 'api',
      env: { RATE_LIMIT_PER_MINUTE: '30', REDIS_URL: redis.url },
    });
  });
  afterAll(async () => {
    await world.close();
    await redis.close();
  });

  it('S33: still holds', async () => {
    stopTheClock();
    const user = await world.client();
    expect(allowed(await ask(user, 10))).toBe(10);
    await redis.signal('SIGKILL');
    expect(allowed(await ask(user, 40))).toBe(20);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(allowed(await ask(user, 5))).toBe(0);
    await redis.start();
  });
});

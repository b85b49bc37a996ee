import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { UsageError } from '../../src/errors.ts';

const SENTINELS = { REDIS_SENTINELS: 'one:26379, two.example.com:26380,[fd00::5]:26379' };

it('takes Sentinels, the name of the primary, and user and passwords of both', () => {
  const { queue } = loadConfig({
    ...SENTINELS,
    ...{ REDIS_USERNAME: 'us:er', REDIS_PASSWORD: 'p@ss', REDIS_SENTINEL_PASSWORD: 'other' },
  });
  expect(queue.backend).toBe('redis');
  expect(queue.redis.sentinels).toEqual({
    addresses: [
      { host: 'one', port: 26379 },
      { host: 'two.example.com', port: 26380 },
      { host: 'fd00::5', port: 26379 },
    ],
    name: 'mymaster',
    password: 'other',
  });
  const { options } = new Redis(queue.redisUrl ?? '', { lazyConnect: true });
  expect(options).toMatchObject({ username: 'us:er', password: 'p@ss' });
  expect(queue.redisUrl).toMatch(/^redis:/);
});

it('speaks TLS where it is told to, by the URL or by a setting', () => {
  expect(loadConfig({ ...SENTINELS, REDIS_TLS: 'true' }).queue.redisUrl).toMatch(/^rediss:/);
  expect(loadConfig({ REDIS_HOST: 'cache', REDIS_TLS: 'true' }).queue.redisUrl).toBe('rediss://cache:6379');
  const given = { REDIS_URL: 'rediss://cache', REDIS_CA_FILE: '/ca.pem' };
  expect(loadConfig(given).queue).toMatchObject({ redisUrl: 'rediss://cache', redis: { caFile: '/ca.pem' } });
});

it.each<[string, Record<string, string>, string]>([
  ['an authority without TLS', { REDIS_HOST: 'cache', REDIS_CA_FILE: '/ca.pem' }, 'set REDIS_TLS=true'],
  ['a URL beside Sentinels', { ...SENTINELS, REDIS_URL: 'redis://a' }, 'are both set'],
  ['a Sentinel without a port', { REDIS_SENTINELS: 'one,two:1' }, 'wants host:port'],
  ['a port that is none', { REDIS_SENTINELS: 'one:70000' }, 'wants host:port'],
  ['no Sentinel', { REDIS_SENTINELS: ' , ' }, 'wants host:port'],
])('refuses %s', (_, env, problem) => {
  expect(() => loadConfig(env)).toThrow(UsageError);
  expect(() => loadConfig(env)).toThrow(problem);
});

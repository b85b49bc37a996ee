import { Redis } from 'ioredis';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { checkRedis, redisFlaw } from '../../src/queues/redis-settings.ts';
import { freePort, type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { createWorld, type World } from '../support/world.ts';

describe('the settings of Redis', () => {
  let redis: PrivateRedis;
  let client: Redis;
  beforeEach(async () => {
    redis = await startPrivateRedis();
    client = new Redis(redis.url);
  });
  afterEach(async () => {
    client.disconnect();
    await redis.close();
  });

  async function warnings(): Promise<string> {
    let said = '';
    const write = (line: string) => {
      said += line;
    };
    await checkRedis(client, pino({ level: 'warn' }, { write }));
    return said;
  }

  it('are warned of where jobs may be thrown away, and only there', async () => {
    expect(await warnings()).not.toContain('maxmemory-policy');
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    expect(await warnings()).toContain('set maxmemory-policy to noeviction');
  });

  it('are warned of where a restart would lose all jobs', async () => {
    expect(await warnings()).toContain('keeps no append-only file');
    await redis.command('CONFIG', 'SET', 'appendonly', 'yes');
    expect(await warnings()).toBe('');
  });

  it('stop the start where it is a replica, and say what REDIS_URL should name', async () => {
    await redis.command('REPLICAOF', '127.0.0.1', String(await freePort()));
    const opening = openQueueBackend({
      kind: 'redis',
      redisUrl: redis.url,
      databaseUrl: '',
      prefix: 't',
      workers: 0,
      log: createLog('silent'),
    });
    await expect(opening).rejects.toThrow(UsageError);
    await expect(opening).rejects.toThrow('let REDIS_URL name its primary');
  });
});

describe('what Redis says of itself', () => {
  const info = (fields: Record<string, string>) =>
    Object.entries({
      redis_version: '7.2.4',
      role: 'master',
      maxmemory_policy: 'noeviction',
      maxmemory: '0',
      used_memory: '1000',
      aof_last_write_status: 'ok',
      rdb_last_bgsave_status: 'ok',
      ...fields,
    })
      .map(([name, value]) => `${name}:${value}\r\n`)
      .join('');

  it.each<[string, Record<string, string>, ReturnType<typeof redisFlaw>]>([
    ['nothing', {}, undefined],
    ['its version', { redis_version: '6.0.16' }, { reason: 'too_old', useless: true }],
    ['its role', { role: 'slave' }, { reason: 'replica', useless: true }],
    ['its policy', { maxmemory_policy: 'allkeys-lru' }, { reason: 'evicts', useless: false }],
    ['its memory', { maxmemory: '1000' }, { reason: 'full', useless: false }],
    ['its file', { aof_last_write_status: 'err' }, { reason: 'cannot_persist', useless: false }],
    ['its snapshots', { rdb_last_bgsave_status: 'err' }, { reason: 'cannot_persist', useless: false }],
  ])('is judged by %s', (_, fields, flaw) => {
    expect(redisFlaw(info(fields))).toEqual(flaw);
  });
});

describe('readiness', () => {
  let redis: PrivateRedis;
  let world: World;
  beforeEach(async () => {
    redis = await startPrivateRedis();
    world = await createWorld({ backend: 'redis', env: { REDIS_URL: redis.url, WORKER_LANES: 'webhook' } });
  });
  afterEach(async () => {
    await redis.signal('SIGCONT');
    await world.close();
    await redis.close();
  });

  interface Ready {
    status: string;
    dependencies: Array<{ name: string; status: string; reason?: string }>;
  }
  /** Waits until it is said, within the five seconds that are promised. */
  async function says(status: string, queues: { status: string; reason?: string }, code = 200): Promise<void> {
    await expect
      .poll(
        async () => {
          const answer = await world.anonymous.request<Ready>('GET', '/readyz');
          const row = answer.body.dependencies.find(({ name }) => name === 'queues');
          return [answer.status, answer.body.status, row?.status, row?.reason];
        },
        { timeout: 5_000 },
      )
      .toEqual([code, status, queues.status, queues.reason]);
  }

  it('tells of a Redis that was given a wrong policy, became a replica or is away, and of its recovery', async () => {
    await says('ready', { status: 'up' });
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    await says('degraded', { status: 'degraded', reason: 'evicts' });
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await says('ready', { status: 'up' });

    await redis.command('REPLICAOF', '127.0.0.1', String(await freePort()));
    await says('degraded', { status: 'down', reason: 'replica' });
    // Tasks are accepted all the same: the row is what counts.
    const client = await world.client();
    await client.submit('echo', { message: 'x' });
    await redis.command('REPLICAOF', 'NO', 'ONE');
    await says('ready', { status: 'up' });

    await redis.signal('SIGKILL');
    await says('degraded', { status: 'down' });
    await redis.start();
    await says('ready', { status: 'up' });
  });
});

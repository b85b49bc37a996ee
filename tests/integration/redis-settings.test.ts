import { Redis } from 'ioredis';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { checkRedis } from '../../src/queues/redis-settings.ts';
import { freePort, type PrivateRedis, startPrivateRedis } from '../support/redis.ts';

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

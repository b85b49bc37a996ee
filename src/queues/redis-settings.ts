import type { Redis } from 'ioredis';
import { UsageError } from '../errors.ts';
import type { Logger } from '../log.ts';

const OLDEST = [6, 2];

/**
 * Looks whether a Redis can be trusted with jobs. What makes it useless stops the start; what makes it lose jobs is said
 * in the log, because every job can be made again from its row.
 * @throws UsageError for a version that is too old and for a replica
 */
export async function checkRedis(redis: Redis, log: Logger): Promise<void> {
  const info = await redis.info();
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const version = field('redis_version');
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < (OLDEST[0] as number) || (major === OLDEST[0] && minor < (OLDEST[1] as number))) {
    throw new UsageError(`Redis ${version} is too old: BullMQ wants ${OLDEST.join('.')} or newer. Look at REDIS_URL.`);
  }
  if (field('role') === 'slave')
    throw new UsageError('This Redis is a replica and takes no writes: let REDIS_URL name its primary.');
  const policy = field('maxmemory_policy');
  if (policy && policy !== 'noeviction') {
    log.warn({ policy }, 'Redis may throw jobs away when memory is short: set maxmemory-policy to noeviction');
  }
  if (field('aof_enabled') === '0')
    log.warn('Redis keeps no append-only file: after a restart all jobs are made again from their rows');
}

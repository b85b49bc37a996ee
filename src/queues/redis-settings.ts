import type { Redis } from 'ioredis';
import { UsageError } from '../errors.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { metrics } from '../telemetry/metrics.ts';
import type { StoreFlaw } from './backend.ts';

const OLDEST = [6, 2] as const;
const WATCH_EVERY_MS = 2_000;

/** What an operator should do about each flaw. */
const ADVICE: Record<StoreFlaw['reason'], string> = {
  too_old: `BullMQ wants Redis ${OLDEST.join('.')} or newer. Look at REDIS_URL.`,
  replica: 'This Redis is a replica and takes no writes: let REDIS_URL name its primary.',
  evicts: 'Redis may throw jobs away when memory is short: set maxmemory-policy to noeviction',
  full: 'Redis has no memory left: raise maxmemory. Tasks are accepted and wait',
  cannot_persist: 'Redis cannot write to its disk and refuses jobs: make room. Tasks are accepted and wait',
};

const fieldOf = (info: string, name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';

/** What is wrong with a Redis, by its own `INFO`; the worst where there are several. */
export function redisFlaw(info: string): StoreFlaw | undefined {
  const field = (name: string) => fieldOf(info, name);
  const [major = 0, minor = 0] = field('redis_version').split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) return { reason: 'too_old', useless: true };
  if (field('role') === 'slave') return { reason: 'replica', useless: true };
  const refuses = [field('aof_last_write_status'), field('rdb_last_bgsave_status')].includes('err');
  if (refuses) return { reason: 'cannot_persist', useless: false };
  const policy = field('maxmemory_policy');
  if (policy && policy !== 'noeviction') return { reason: 'evicts', useless: false };
  const limit = Number(field('maxmemory'));
  if (limit > 0 && Number(field('used_memory')) >= limit) return { reason: 'full', useless: false };
}

/**
 * Looks whether a Redis can be trusted with jobs. What makes it useless stops the start; what makes it lose jobs is said
 * in the log, because every job can be made again from its row.
 * @throws UsageError for a version that is too old and for a replica
 */
export async function checkRedis(redis: Redis, log: Logger): Promise<StoreFlaw | undefined> {
  const info = await redis.info();
  const flaw = redisFlaw(info);
  record(info, flaw);
  if (flaw?.useless) throw new UsageError(ADVICE[flaw.reason]);
  if (flaw) log.warn({ reason: flaw.reason }, ADVICE[flaw.reason]);
  if (/^aof_enabled:0/m.test(info))
    log.warn('Redis keeps no append-only file: after a restart all jobs are made again from their rows');
  return flaw;
}

/** Goes on looking, because settings and roles change under a running process; says in the log when something does. */
export function watchRedis(redis: Redis, first: StoreFlaw | undefined, log: Logger) {
  let flaw = first;
  const stop = repeat(
    WATCH_EVERY_MS,
    async () => {
      const info = await redis.info();
      const next = redisFlaw(info);
      record(info, next);
      if (next?.reason === flaw?.reason) return;
      if (next) log.warn({ reason: next.reason }, ADVICE[next.reason]);
      else log.info('Redis is as it should be again');
      flaw = next;
    },
    // That it is away is told by its connection.
    (error) => log.debug({ err: error }, 'Redis could not be looked at'),
  );
  return { flaw: () => flaw, stop };
}

function record(info: string, flaw: StoreFlaw | undefined): void {
  const figure = (name: string) => Number(fieldOf(info, name)) || 0;
  metrics.redisMemory.set(figure('used_memory'));
  metrics.redisMemoryMax.set(figure('maxmemory'));
  metrics.redisClients.set(figure('connected_clients'));
  // Redis counts them itself, and begins anew with each of its starts.
  metrics.redisCommands.reset();
  metrics.redisCommands.inc(figure('total_commands_processed'));
  for (const reason of Object.keys(ADVICE)) metrics.redisFlaw.set({ reason }, reason === flaw?.reason ? 1 : 0);
}

import { readFileSync } from 'node:fs';
import { Redis, type RedisOptions } from 'ioredis';
import { errorMessage, UsageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { StoreFlaw } from './backend.ts';
import { CALL_TIMEOUT_MS } from './lane-queues.ts';
import { checkRedis } from './redis-settings.ts';

/** How a Redis is reached, besides its URL. */
export interface RedisReach {
  /** The certificate of the authority behind it, as a file. */
  caFile: string | undefined;
  /** Those who know which Redis is the primary; of the URL, its user, its password and whether it is TLS are taken then. */
  sentinels:
    | {
        addresses: ReadonlyArray<{ readonly host: string; readonly port: number }>;
        name: string;
        password: string | undefined;
      }
    | undefined;
}

const CONNECT_TIMEOUT_MS = 5_000;
const SILENCE_MS = 5_000;
const BLOCKING_SILENCE_MS = 12_000;

const retryStrategy = (times: number) => Math.min(50 * 2 ** Math.min(times, 5), 1_000);

/**
 * Connects to Redis for adding and looking: its calls fail at once while Redis is away, because the row is durable and the
 * answer to the client must not wait.
 * @throws UsageError when it cannot be reached or must not be used, naming the variable to look at
 */
export async function connectProducer(
  url: string,
  reach: RedisReach | undefined,
  log: Logger,
): Promise<{ producer: Redis; flaw: StoreFlaw | undefined }> {
  let started = false;
  const producer = new Redis(url, {
    ...optionsOf(url, reach),
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    commandTimeout: CALL_TIMEOUT_MS,
    // A connection that a network forgot is never reset: one that owes an answer for so long is given up.
    socketTimeout: SILENCE_MS,
    // At the start, Sentinels that do not answer are a reason to end.
    sentinelRetryStrategy: (times) => (started ? retryStrategy(times) : null),
  });
  let lastError: unknown;
  let ofSentinel: unknown;
  producer.on('error', (error) => {
    lastError = error;
    log.debug({ err: error }, 'Redis connection');
  });
  // The error itself may only say that none of them was of use.
  producer.on('sentinelError', (error) => {
    ofSentinel = error;
  });
  reportOutages(producer, log);
  try {
    await producer.connect();
    const flaw = await checkRedis(producer, log);
    started = true;
    return { producer, flaw };
  } catch (error) {
    producer.disconnect();
    if (error instanceof UsageError) throw error;
    // The call itself only says that the connection is closed.
    const why = errorMessage(ofSentinel ?? lastError ?? error);
    throw new UsageError(`Redis cannot be used (${why}): ${adviceFor(reach)}`, { cause: error });
  }
}

/** Connects to Redis for workers, who wait for it as long as it takes. */
export function connectConsumer(url: string, reach: RedisReach | undefined, log: Logger): Redis {
  const consumer = new Redis(url, {
    ...optionsOf(url, reach),
    maxRetriesPerRequest: null,
    // Workers wait for a job up to ten seconds in one call.
    socketTimeout: BLOCKING_SILENCE_MS,
    sentinelRetryStrategy: retryStrategy,
  });
  consumer.on('error', (error) => log.debug({ err: error }, 'Redis connection'));
  return consumer;
}

function optionsOf(url: string, reach: RedisReach | undefined): RedisOptions {
  const tls = url.startsWith('rediss:') ? tlsOf(reach?.caFile) : undefined;
  return {
    connectTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy,
    keepAlive: 10_000,
    // What was the primary and is a replica now, behind the same address or an open connection: who asks again finds the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    ...(tls ? { tls } : {}),
    ...(reach?.sentinels ? sentinelOptions(reach.sentinels, tls) : {}),
  };
}

function sentinelOptions(
  { addresses, name, password }: NonNullable<RedisReach['sentinels']>,
  tls: RedisOptions['tls'],
): RedisOptions {
  return {
    sentinels: addresses.map((address) => ({ ...address })),
    name,
    ...(password ? { sentinelPassword: password } : {}),
    ...(tls ? { sentinelTLS: tls, enableTLSForSentinelMode: true } : {}),
    sentinelCommandTimeout: CALL_TIMEOUT_MS,
  };
}

function tlsOf(caFile: string | undefined): RedisOptions['tls'] {
  if (!caFile) return {};
  try {
    return { ca: readFileSync(caFile) };
  } catch (error) {
    throw new UsageError(`REDIS_CA_FILE=${caFile} cannot be read: ${errorMessage(error)}`, { cause: error });
  }
}

function adviceFor(reach: RedisReach | undefined): string {
  return reach?.sentinels
    ? 'look at REDIS_SENTINELS and REDIS_SENTINEL_NAME. Are they up, do they watch a primary of this name, and are the passwords and REDIS_TLS right?'
    : 'look at REDIS_URL. Is the server up, and are host, port and password right?';
}

/** One line when Redis goes and one when it is back, however often it is tried in between. */
function reportOutages(redis: Redis, log: Logger): void {
  let away = false;
  redis.on('reconnecting', () => {
    if (!away) log.warn('Redis is away; tasks are accepted and wait');
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info('Redis is back');
    away = false;
  });
}

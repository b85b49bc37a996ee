import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { errorMessage, UsageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Lane } from '../tasks/lanes.ts';
import type { BackendOptions, QueueBackend, StoreFlaw } from './backend.ts';
import { CALL_TIMEOUT_MS, closeQueues, openQueues } from './lane-queues.ts';
import { listJobs, readFirstJobs, readJobStates } from './redis-jobs.ts';
import { checkRedis, watchRedis } from './redis-settings.ts';

/** How many finished jobs a lane keeps for the dashboard is set per job; the stream of events is kept short. */
const EVENT_STREAM_LENGTH = 500;
const CONNECT_TIMEOUT_MS = 5_000;
const SILENCE_MS = 5_000;
const BLOCKING_SILENCE_MS = 12_000;

/** BullMQ's jobs in Redis. @throws UsageError when it cannot be reached or must not be used */
export async function openRedis({ redisUrl = '', prefix, log }: BackendOptions): Promise<QueueBackend> {
  const retryStrategy = (times: number) => Math.min(50 * 2 ** Math.min(times, 5), 1_000);
  // Adds must fail at once while Redis is away, because the row is durable and the answer to the client must not wait.
  const producer = new Redis(redisUrl, {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    commandTimeout: CALL_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // A connection that a network forgot is never reset: one that owes an answer for so long is given up.
    socketTimeout: SILENCE_MS,
    retryStrategy,
    keepAlive: 10_000,
  });
  let lastError: unknown;
  let flaw: StoreFlaw | undefined;
  producer.on('error', (error) => {
    lastError = error;
    log.debug({ err: error }, 'Redis connection');
  });
  reportOutages(producer, log);
  try {
    await producer.connect();
    flaw = await checkRedis(producer, log);
  } catch (error) {
    producer.disconnect();
    if (error instanceof UsageError) throw error;
    // The call itself only says that the connection is closed.
    throw new UsageError(
      `Redis cannot be used (${errorMessage(lastError ?? error)}): look at REDIS_URL. Is the server up, and are host, port and password right?`,
      { cause: error },
    );
  }
  const consumer = new Redis(redisUrl, {
    maxRetriesPerRequest: null,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // Workers wait for a job up to ten seconds in one call.
    socketTimeout: BLOCKING_SILENCE_MS,
    retryStrategy,
    keepAlive: 10_000,
  });
  consumer.on('error', (error) => log.debug({ err: error }, 'Redis connection'));

  const queues = openQueues(
    (lane) =>
      new Queue(lane, {
        connection: producer,
        prefix,
        skipVersionCheck: true,
        streams: { events: { maxLen: EVENT_STREAM_LENGTH } },
      }),
    log,
  );
  const watch = watchRedis(producer, flaw, log);
  const epochKey = `${prefix}:epoch`;
  return {
    kind: 'redis',
    queue: (lane) => queues[lane],
    createWorker: (lane, processor, workerOptions) =>
      new Worker(lane, processor, { ...workerOptions, connection: consumer, prefix }),
    isUp: () => producer.status === 'ready',
    jobStates: (lane, ids) => readJobStates(producer, queues[lane], ids),
    listJobs: (lane) => listJobs(producer, queues[lane]),
    firstJobs: (lane, count) => readFirstJobs(producer, queues[lane], count),
    async putBack(job, token) {
      await job.moveToWait(token);
      // BullMQ expects whoever puts a job back to fetch the next; here that one is busy, and others are to be woken.
      await producer.zadd(queues[job.queueName as Lane].toKey('marker'), 0, '0');
    },
    async removeJobs(lane, ids) {
      const removed = await Promise.all(ids.map((id) => queues[lane].remove(id, { removeChildren: false })));
      return removed.reduce((sum, count) => sum + count, 0);
    },
    async readEpoch() {
      const [marker, info] = await Promise.all([producer.get(epochKey), producer.info('server')]);
      // A restart gives a new run_id: with appendfsync everysec the last second of adds may be gone.
      return marker === null ? undefined : `${marker}:${/run_id:(\w+)/.exec(info)?.[1]}`;
    },
    writeEpoch: async () => void (await producer.set(epochKey, new Date().toISOString(), 'NX')),
    async addCounts(counts, seconds) {
      const pipeline = producer.pipeline();
      for (const [name, count] of counts)
        pipeline.incrby(`${prefix}:count:${name}`, count).expire(`${prefix}:count:${name}`, seconds);
      const results = (await pipeline.exec()) ?? [];
      const failed = results.find(([error]) => error);
      if (failed) throw failed[0];
      return new Map([...counts.keys()].map((name, index) => [name, Number(results[index * 2]?.[1])]));
    },
    flaw: watch.flaw,
    ping: async () => /redis_version:(\S+)/.exec(await producer.info('server'))?.[1] ?? 'unknown',
    async close() {
      void watch.stop();
      await closeQueues(Object.values(queues));
      producer.disconnect();
      consumer.disconnect();
    },
  };
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

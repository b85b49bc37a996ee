import {
  createPostgresBackend,
  type JobsOptions,
  type Processor,
  Queue,
  runMigrations,
  Worker,
  type WorkerOptions,
  withBackend,
} from 'bullmq';
import { Redis } from 'ioredis';
import type pg from 'pg';
import { createPool } from '../db/connect.ts';
import { errorMessage, UsageError } from '../errors.ts';
import { within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { LANES, type Lane } from '../tasks/lanes.ts';
import { checkRedis } from './redis-settings.ts';

/** What a job carries: ids, never the payload. The rest is in the row that it wakes. */
export interface JobData {
  kind: 'task' | 'delivery';
  id: string;
  generation: number;
  request_id?: string;
}

export type LaneQueue = Queue<JobData, void, string>;
export type LaneWorker = Worker<JobData, void, string>;
export type LaneProcessor = Processor<JobData, void, string>;

/** Where BullMQ keeps its jobs. Both kinds behave alike to the rest of the house. */
export interface QueueBackend {
  kind: 'redis' | 'postgres';
  queue(lane: Lane): LaneQueue;
  createWorker(lane: Lane, processor: LaneProcessor, options: Omit<WorkerOptions, 'connection' | 'prefix'>): LaneWorker;
  /** Whether adding has a chance now; a `false` saves the wait for a time-out. */
  isUp(): boolean;
  /** A word that stays the same as long as no job can have been lost; `undefined` where the store is new or was emptied. */
  readEpoch(): Promise<string | undefined>;
  /** Marks the store as complete: its epoch is answered from now on. */
  writeEpoch(): Promise<void>;
  /** Asks the store for its version. @throws when it cannot be reached */
  ping(): Promise<string>;
  close(): Promise<void>;
}

interface Options {
  kind: 'redis' | 'postgres';
  redisUrl: string | undefined;
  databaseUrl: string;
  prefix: string;
  /** How many workers this process opens on the backend; each listens on a connection of its own. */
  workers: number;
  log: Logger;
}

/** How many finished jobs a lane keeps for the dashboard is set per job; the stream of events is kept short. */
const EVENT_STREAM_LENGTH = 500;
const CALL_TIMEOUT_MS = 3_000;

/** The options that every job of ours has. Attempts are counted in Postgres, so BullMQ must never run out of them. */
export function jobOptions(keep: { completed: number; failed: number }): JobsOptions {
  return {
    attempts: 1_000_000,
    backoff: { type: 'custom' },
    removeOnComplete: keep.completed === 0 ? true : { count: keep.completed },
    removeOnFail: keep.failed === 0 ? true : { count: keep.failed },
    stackTraceLimit: 0,
  };
}

/** Opens the backend. @throws UsageError when it cannot be reached, naming the variable to look at */
export async function openQueueBackend(options: Options): Promise<QueueBackend> {
  return options.kind === 'redis' ? openRedis(options) : openPostgres(options);
}

/** Makes or updates BullMQ's own tables, where it keeps its jobs in Postgres. Any number of processes may call it at once. */
export async function migrateQueueBackend(options: Pick<Options, 'kind'>, pool: pg.Pool): Promise<void> {
  if (options.kind !== 'postgres') return;
  const client = await pool.connect();
  try {
    await runMigrations(client as never, SCHEMA);
  } finally {
    client.release();
  }
}

const SCHEMA = 'bullmq';

async function openRedis({ redisUrl = '', prefix, log }: Options): Promise<QueueBackend> {
  const retryStrategy = (times: number) => Math.min(50 * 2 ** Math.min(times, 5), 1_000);
  // Adds must fail at once while Redis is away, because the row is durable and the answer to the client must not wait.
  const producer = new Redis(redisUrl, {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    commandTimeout: CALL_TIMEOUT_MS,
    connectTimeout: 5_000,
    retryStrategy,
    keepAlive: 10_000,
  });
  let lastError: unknown;
  producer.on('error', (error) => {
    lastError = error;
    log.debug({ err: error }, 'Redis connection');
  });
  reportOutages(producer, log);
  try {
    await producer.connect();
    await checkRedis(producer, log);
  } catch (error) {
    producer.disconnect();
    if (error instanceof UsageError) throw error;
    // The call itself only says that the connection is closed.
    throw new UsageError(
      `Redis cannot be used (${errorMessage(lastError ?? error)}): look at REDIS_URL. Is the server up, and are host, port and password right?`,
      { cause: error },
    );
  }
  const consumer = new Redis(redisUrl, { maxRetriesPerRequest: null, retryStrategy, keepAlive: 10_000 });
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
  const epochKey = `${prefix}:epoch`;
  return {
    kind: 'redis',
    queue: (lane) => queues[lane],
    createWorker: (lane, processor, workerOptions) =>
      new Worker(lane, processor, { ...workerOptions, connection: consumer, prefix }),
    isUp: () => producer.status === 'ready',
    async readEpoch() {
      const [marker, info] = await Promise.all([producer.get(epochKey), producer.info('server')]);
      // A restart gives a new run_id: with appendfsync everysec the last second of adds may be gone.
      return marker === null ? undefined : `${marker}:${/run_id:(\w+)/.exec(info)?.[1]}`;
    },
    writeEpoch: async () => void (await producer.set(epochKey, new Date().toISOString(), 'NX')),
    ping: async () => /redis_version:(\S+)/.exec(await producer.info('server'))?.[1] ?? 'unknown',
    async close() {
      await closeAll(Object.values(queues));
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

async function openPostgres({ databaseUrl, workers, log }: Options): Promise<QueueBackend> {
  const pool = createPool({ url: databaseUrl, max: workers + 4, name: '', log, options: `-c search_path=${SCHEMA}` });
  // Each queue and worker hears the errors of the pool that they share.
  pool.setMaxListeners(0);
  const classes = withBackend(createPostgresBackend);
  const connection = pool as never;
  const queues = openQueues((lane) => new classes.Queue(lane, { connection }) as unknown as LaneQueue, log);
  await Promise.all(Object.values(queues).map((queue) => queue.waitUntilReady()));
  const version = async () =>
    (await pool.query("select current_setting('server_version') as version")).rows[0].version as string;
  return {
    kind: 'postgres',
    queue: (lane) => queues[lane],
    createWorker: (lane, processor, workerOptions) =>
      new classes.Worker(lane, processor as never, { ...workerOptions, connection }) as unknown as LaneWorker,
    isUp: () => true,
    // Jobs and rows live and die together here, so there is nothing to lose between them but what a restore brings.
    readEpoch: async () => 'postgres',
    writeEpoch: async () => {},
    ping: version,
    async close() {
      await closeAll(Object.values(queues));
      await pool.end();
    },
  };
}

function openQueues(open: (lane: Lane) => LaneQueue, log: Logger): Record<Lane, LaneQueue> {
  const queues = Object.fromEntries(LANES.map((lane) => [lane, open(lane)])) as Record<Lane, LaneQueue>;
  for (const lane of LANES) queues[lane].on('error', (error) => log.debug({ err: error, lane }, 'queue error'));
  return queues;
}

/** BullMQ's own close waits for ever while its store is away. */
async function closeAll(queues: LaneQueue[]): Promise<void> {
  await Promise.all(queues.map((queue) => within(queue.close(), CALL_TIMEOUT_MS, 'closing a queue').catch(() => {})));
}

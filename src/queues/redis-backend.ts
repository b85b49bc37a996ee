import { Queue, Worker } from 'bullmq';
import type { Lane } from '../tasks/lanes.ts';
import type { BackendOptions, QueueBackend } from './backend.ts';
import { closeQueues, openQueues } from './lane-queues.ts';
import { connectConsumer, connectProducer } from './redis-connect.ts';
import { listJobs, readFirstJobs, readJobStates } from './redis-jobs.ts';
import { watchRedis } from './redis-settings.ts';

/** How many finished jobs a lane keeps for the dashboard is set per job; the stream of events is kept short. */
const EVENT_STREAM_LENGTH = 500;
/** BullMQ's jobs in Redis. @throws UsageError when it cannot be reached or must not be used */
export async function openRedis({ redisUrl = '', redis, prefix, log }: BackendOptions): Promise<QueueBackend> {
  const { producer, flaw } = await connectProducer(redisUrl, redis, log);
  const consumer = connectConsumer(redisUrl, redis, log);

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
    clearEpoch: async () => void (await producer.del(epochKey)),
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

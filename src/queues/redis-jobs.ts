import type { Redis } from 'ioredis';
import type { JobState, LaneQueue } from './backend.ts';
import { JOBS_A_PAGE } from './lane-queues.ts';

/** One that was active may be delayed, or wait with its priority, by the time it is asked for. */
const LIVE = ['active', 'waiting', 'delayed', 'prioritized'];

/**
 * What became of jobs. BullMQ's own `getState` is a script a job; here three commands answer for all of them where they
 * all wait, and one where there are none, which is the case after a loss.
 */
export async function readJobStates(redis: Redis, queue: LaneQueue, ids: string[]): Promise<JobState[]> {
  const keys = ids.map((id) => queue.toKey(id));
  const [there, prioritized, delayed] = await Promise.all([
    redis.exists(...keys),
    redis.zmscore(queue.toKey('prioritized'), ...ids),
    redis.zmscore(queue.toKey('delayed'), ...ids),
  ]);
  if (there === 0) return ids.map(() => 'missing');
  const each = there === ids.length ? undefined : await Promise.all(keys.map((key) => redis.exists(key)));
  return Promise.all(
    ids.map(async (id, index) => {
      // An id that stands in a lane without its job would reach a worker empty; adding it again fills it.
      if (each?.[index] === 0) return 'missing';
      if (prioritized[index] != null || delayed[index] != null) return 'live';
      const state = await queue.getJobState(id);
      return LIVE.includes(state) ? 'live' : 'spent';
    }),
  );
}

/** The ids of all jobs that wait or are delayed. */
export async function* listJobs(redis: Redis, queue: LaneQueue): AsyncIterable<string[]> {
  for (const key of ['prioritized', 'delayed'].map((name) => queue.toKey(name))) {
    let cursor = '0';
    do {
      const [next, found] = await redis.zscan(key, cursor, 'COUNT', JOBS_A_PAGE);
      cursor = next;
      // Members and scores take turns.
      const ids = found.filter((_, index) => index % 2 === 0);
      if (ids.length > 0) yield ids;
    } while (cursor !== '0');
  }
  // Only what was taken from a stalled worker waits without its priority.
  const stalled = await redis.lrange(queue.toKey('wait'), 0, -1);
  if (stalled.length > 0) yield stalled;
}

/** The ids of the next jobs in the order in which BullMQ gives them out: first those taken from stalled workers, the oldest first. */
export async function readFirstJobs(redis: Redis, queue: LaneQueue, count: number): Promise<string[]> {
  const [stalled, prioritized] = await Promise.all([
    redis.lrange(queue.toKey('wait'), -count, -1),
    redis.zrange(queue.toKey('prioritized'), '0', `${count - 1}`),
  ]);
  return [...stalled.toReversed(), ...prioritized].slice(0, count);
}

import * as v from 'valibot';
import type { LaneCount, Running } from '../../db/monitoring.ts';
import { STATUSES, type Status } from '../../db/schema.ts';
import { LANES } from '../../tasks/lanes.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import type { Same } from '../answer.ts';
import { status } from './task.ts';

const fields = {
  name: v.picklist(LANES),
  paused: v.boolean(),
  paused_at: v.nullable(sentTime),
  paused_by: v.nullable(v.string()),
};

/** Whether a queue stands still. */
export const pause = named('QueuePause', v.strictObject(fields));

const count = v.pipe(v.number(), v.integer());
const counts = Object.fromEntries(STATUSES.map((name) => [name, count])) as Record<Status, typeof count>;

/** A queue with its tasks by status. */
export const queue = named(
  'Queue',
  v.strictObject({
    ...fields,
    counts: v.strictObject(counts),
    parked: v.pipe(
      count,
      v.description('How many of those that run wait for something outside, so that no worker holds them.'),
    ),
    demand: v.pipe(
      count,
      v.description(
        'How many tasks workers would have in their hands if there were enough of them: those that they have, and those that wait for nothing else. Autoscalers read it.',
      ),
    ),
    oldest_waiting_seconds: v.number(),
    throughput: v.pipe(
      v.strictObject({
        started_per_minute: v.number(),
        completed_per_minute: v.number(),
        failed_per_minute: v.number(),
        mean_run_ms: v.number(),
      }),
      v.description(
        'Over the last five minutes and the present one, as the workers count it; zeros where nothing was done.',
      ),
    ),
  }),
);

/** What a worker has at this moment. */
const running = named(
  'RunningTask',
  v.strictObject({
    id: sentId,
    type: v.string(),
    lane: v.picklist(LANES),
    attempt: count,
    user_id: sentId,
    status,
    started_at: sentTime,
    lease_until: sentTime,
  }),
);

true satisfies Same<Omit<Running, 'worker'>, v.InferOutput<typeof running>>;
true satisfies Same<LaneCount['lane'], v.InferOutput<typeof queue>['name']>;

const work = v.strictObject({ concurrency: count, running: count });
const works = Object.fromEntries(LANES.map((name) => [name, v.optional(work)])) as Record<
  (typeof LANES)[number],
  v.OptionalSchema<typeof work, undefined>
>;

/** A process that works, as it says itself every few seconds; nulls where it says nothing. */
export const worker = named(
  'Worker',
  v.strictObject({
    name: v.string(),
    version: v.nullable(v.string()),
    lanes: v.pipe(v.strictObject(works), v.description('Its queues: how many tasks at a time, and how many now.')),
    down: v.pipe(
      v.array(v.strictObject({ dependency: v.picklist(['ollama', 'qdrant']), model: v.nullable(v.string()) })),
      v.description('What it leaves alone for a moment because it keeps failing.'),
    ),
    loading: v.pipe(
      v.array(v.strictObject({ model: v.string(), requested: v.boolean() })),
      v.description('Models that it waits for while the host loads them.'),
    ),
    started_at: v.nullable(sentTime),
    seen_at: v.nullable(sentTime),
    running_total: v.pipe(count, v.description('How many tasks it has in its hands.')),
    running: v.pipe(
      v.array(running),
      v.description(
        'Those of them that run longest. Of all workers together at most 1,000 are named: where there are fewer than running_total, the list is cut.',
      ),
    ),
  }),
);

export const pauseExample: v.InferInput<typeof pause> = {
  name: 'llm',
  paused: true,
  paused_at: '2030-01-31T12:00:00.000Z',
  paused_by: 'grace',
};

export const queueExample: v.InferInput<typeof queue> = {
  ...pauseExample,
  counts: {
    ...{ scheduled: 0, pending: 12, running: 2, cancelling: 0 },
    ...{ completed: 340, failed: 1, cancelled: 0, expired: 0 },
  },
  parked: 0,
  // It stands still, so nobody needs workers for what waits.
  demand: 2,
  oldest_waiting_seconds: 8.2,
  throughput: { started_per_minute: 11.4, completed_per_minute: 11.2, failed_per_minute: 0.2, mean_run_ms: 9_800 },
};

export const workerExample: v.InferInput<typeof worker> = {
  name: 'worker-1',
  version: '0.1.0',
  lanes: { llm: { concurrency: 2, running: 1 } },
  down: [],
  loading: [],
  started_at: '2030-01-31T11:00:00.000Z',
  seen_at: '2030-01-31T12:00:10.000Z',
  running_total: 1,
  running: [
    {
      id: '0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10',
      type: 'chat',
      lane: 'llm',
      attempt: 1,
      user_id: '0199a5c0-1c52-7d0f-8a77-5b2e9d3c4f01',
      status: 'running',
      started_at: '2030-01-31T12:00:00.000Z',
      lease_until: '2030-01-31T12:00:30.000Z',
    },
  ],
};

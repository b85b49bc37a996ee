import * as v from 'valibot';
import { named, sentTime } from '../../tasks/named.ts';
import { status } from './task.ts';

/** Why a task waits, one word each: the last three for one that runs and has given its slot back meanwhile. */
const REASONS = [
  'scheduled',
  'queue_paused',
  'no_worker',
  'dependency_down',
  'rate_limited',
  'concurrency_limit',
  'user_limit',
  'model_loading',
  'ahead_in_queue',
  'awaiting_callback',
  'awaiting_steps',
  'awaiting_approval',
] as const;

/** The answer to why a task waits. */
export const explanation = named(
  'Explanation',
  v.strictObject({
    status,
    position: v.pipe(
      v.nullable(v.pipe(v.number(), v.integer())),
      v.description('Its place in the queue; 1 is next. Null where it does not stand in line.'),
    ),
    position_is_exact: v.pipe(
      v.nullable(v.boolean()),
      v.description('True where the place was counted; beyond 1,000 it is an estimate of two digits.'),
    ),
    expected_start: v.pipe(
      v.nullable(v.strictObject({ earliest: sentTime, likely: sentTime, latest: sentTime })),
      v.description('By what the queue did within the last hour; null where that says nothing.'),
    ),
    not_before: v.pipe(v.nullable(sentTime), v.description('When it is due, where that is later than now.')),
    reason: v.pipe(v.nullable(v.picklist(REASONS)), v.description('What holds it back; null once it does not wait.')),
    detail: v.pipe(v.string(), v.description('The same for people, and what can be done.')),
  }),
);

export type Explanation = v.InferOutput<typeof explanation>;

export const explanationExample: v.InferInput<typeof explanation> = {
  status: 'pending',
  position: 13,
  position_is_exact: true,
  expected_start: {
    earliest: '2030-01-31T12:00:38.000Z',
    likely: '2030-01-31T12:00:52.000Z',
    latest: '2030-01-31T12:01:06.000Z',
  },
  not_before: null,
  reason: 'ahead_in_queue',
  detail: '12 tasks are before it in the queue llm. A lower priority number goes first; waiting makes up for it.',
};

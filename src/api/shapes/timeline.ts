import * as v from 'valibot';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import { status, taskError } from './task.ts';

const number = v.pipe(v.number(), v.integer());
const optionalText = v.optional(v.nullable(v.string()));

/** Something that happened to a task; which fields are there depends on its type. */
export const timelineEvent = named(
  'TimelineEvent',
  v.strictObject({
    id: v.pipe(
      v.string(),
      v.description('Sorts by time. Send it as `Last-Event-ID`, `after` or `cursor` to go on from here.'),
    ),
    at: sentTime,
    type: v.picklist([
      'accepted',
      'queued',
      'started',
      'progress',
      'log',
      'cancel_requested',
      'attempt_ended',
      'webhook',
      'ended',
      'retried',
      'step',
      'resumed',
    ]),
    status: v.pipe(v.nullable(status), v.description('Where the task stood after it; null where that did not change.')),
    attempt: number,
    by: v.optional(v.pipe(v.nullable(v.string()), v.description('The user name of who did it; null for the product.'))),
    reason: optionalText,
    outcome: v.optional(v.picklist(['completed', 'failed', 'retry', 'released', 'cancelled', 'lost', 'parked'])),
    error: v.optional(v.nullable(taskError)),
    percent: v.optional(v.nullable(v.number())),
    message: optionalText,
    level: v.optional(v.picklist(['info', 'warn'])),
    fields: v.optional(v.nullable(v.record(v.string(), v.unknown()))),
    delivery_id: v.optional(sentId),
    event: v.optional(v.string()),
    url: v.optional(v.string()),
    http_status: v.optional(v.nullable(number)),
    failure: optionalText,
    latency_ms: v.optional(number),
    name: v.optional(v.string()),
    kind: v.optional(v.string()),
    ms: v.optional(number),
  }),
);

export const timelineExample: Array<v.InferInput<typeof timelineEvent>> = [
  { id: '1896091200000000-0-0', at: '2030-01-31T12:00:00.000Z', type: 'accepted', status: 'pending', attempt: 0 },
  { id: '1896091200000000-1-0', at: '2030-01-31T12:00:00.000Z', type: 'queued', status: 'pending', attempt: 0 },
  { id: '1896091200010000-2-1', at: '2030-01-31T12:00:00.010Z', type: 'started', status: 'running', attempt: 1 },
  {
    ...{ id: '1896091200025000-5-1', at: '2030-01-31T12:00:00.025Z', type: 'attempt_ended' },
    ...{ status: 'completed', attempt: 1, outcome: 'completed', error: null },
  },
  {
    ...{ id: '1896091200025000-7-1', at: '2030-01-31T12:00:00.025Z', type: 'ended' },
    ...{ status: 'completed', attempt: 1, error: null, reason: null },
  },
];

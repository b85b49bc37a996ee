import * as v from 'valibot';
import { CONCURRENCY_POLICIES, STATUSES } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import type { PresentedTask } from '../../tasks/present.ts';
import type { Same } from '../answer.ts';

/** Why a task, or an attempt, did not succeed. */
export const taskError = named(
  'TaskError',
  v.strictObject({ code: v.string(), message: v.string(), retryable: v.boolean() }),
);

/** What an attempt used. */
export const usage = named(
  'Usage',
  v.strictObject({
    input_tokens: v.number(),
    output_tokens: v.number(),
    load_ms: v.number(),
    run_ms: v.number(),
  }),
);

export const status = named('TaskStatus', v.picklist(STATUSES));

const fields = {
  id: sentId,
  type: v.string(),
  title: v.nullable(v.string()),
  status,
  priority: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10)),
  input: v.unknown(),
  output: v.unknown(),
  error: v.nullable(taskError),
  progress: v.nullable(v.strictObject({ percent: v.nullable(v.number()), message: v.nullable(v.string()) })),
  attempt: v.pipe(v.number(), v.integer()),
  max_attempts: v.pipe(v.number(), v.integer()),
  failures: v.pipe(
    v.number(),
    v.integer(),
    v.description(
      'How many of its attempts failed; with `max_attempts` of them it is given up. Other attempts do not count.',
    ),
  ),
  queue_position: v.pipe(
    v.nullable(v.pipe(v.number(), v.integer())),
    v.description(
      'Its place in the queue, 1 is next; beyond 1,000 an estimate of two digits. Null where it does not stand in line, in lists, and in answers to a submission.',
    ),
  ),
  metadata: v.nullable(v.record(v.string(), v.unknown())),
  tags: v.array(v.string()),
  model: v.nullable(v.string()),
  usage: v.nullable(usage),
  agent_id: v.nullable(sentId),
  parent_id: v.nullable(sentId),
  batch_id: v.nullable(sentId),
  origin_id: v.nullable(
    v.pipe(sentId, v.description('The task that this one was made from by a retry with another input.')),
  ),
  schedule_id: v.nullable(sentId),
  concurrency_key: v.nullable(
    v.strictObject({
      key: v.string(),
      limit: v.pipe(v.number(), v.integer()),
      policy: v.picklist(CONCURRENCY_POLICIES),
    }),
  ),
  user_id: sentId,
  created_at: sentTime,
  scheduled_for: v.nullable(sentTime),
  started_at: v.nullable(sentTime),
  completed_at: v.nullable(sentTime),
  expires_at: v.nullable(sentTime),
  cancel_reason: v.nullable(v.string()),
  payload_deleted_at: v.nullable(
    v.pipe(sentTime, v.description('Since when what its user wrote, and what came of it, is deleted.')),
  ),
  urls: v.strictObject({ self: v.string(), cancel: v.string(), retry: v.string(), events: v.string() }),
};

/** A task as `showTask` answers it. */
export const task = named('Task', v.strictObject(fields));

// How many attempts had failed when an event happened is not kept.
const { input: _, failures: __, ...told } = fields;

/** A task in a message to a webhook: as it was when the event happened. */
export const toldTask = named(
  'ToldTask',
  v.pipe(
    v.strictObject(told),
    v.description(
      'The task as it was at `timestamp`, without its input and `failures`; `output` is null from 20 kB on.',
    ),
  ),
);

/** A task in the answer to its submission. */
export const submittedTask = named(
  'SubmittedTask',
  v.strictObject({
    ...fields,
    webhook_secret: v.optional(
      v.pipe(v.string(), v.description('The secret that was made for the webhook; shown in this answer alone.')),
    ),
  }),
);

// `showTask` answers this type; that nothing more is in what it makes is checked here.
true satisfies Same<keyof PresentedTask, keyof v.InferOutput<typeof task>>;

const SELF = 'http://127.0.0.1:3000/api/v1/tasks/0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10';

export const taskExample: v.InferInput<typeof task> = {
  id: '0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10',
  type: 'echo',
  title: null,
  status: 'completed',
  priority: 5,
  input: { message: 'hello' },
  output: { message: 'hello' },
  error: null,
  progress: null,
  attempt: 1,
  max_attempts: 3,
  failures: 0,
  queue_position: null,
  metadata: {},
  tags: ['nightly'],
  model: null,
  usage: null,
  agent_id: null,
  parent_id: null,
  batch_id: null,
  origin_id: null,
  schedule_id: null,
  concurrency_key: null,
  user_id: '0199a5c0-1c52-7d0f-8a77-5b2e9d3c4f01',
  created_at: '2030-01-31T12:00:00.000Z',
  scheduled_for: null,
  started_at: '2030-01-31T12:00:00.010Z',
  completed_at: '2030-01-31T12:00:00.025Z',
  expires_at: null,
  cancel_reason: null,
  payload_deleted_at: null,
  urls: { self: SELF, cancel: `${SELF}/cancel`, retry: `${SELF}/retry`, events: `${SELF}/events` },
};

/** The same before a worker had it. */
export const pendingExample: v.InferInput<typeof task> = {
  ...taskExample,
  ...{ status: 'pending', output: null, attempt: 0, started_at: null, completed_at: null },
};

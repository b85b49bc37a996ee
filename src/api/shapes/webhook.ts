import * as v from 'valibot';
import type { DeliveryAttemptRow } from '../../db/delivery-log.ts';
import { DELIVERY_STATUSES, DISABLED_REASONS } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import type { Same } from '../answer.ts';

const fields = {
  id: sentId,
  name: v.nullable(v.string()),
  url: v.string(),
  events: v.array(v.string()),
  enabled: v.boolean(),
  disabled_reason: v.nullable(
    v.pipe(
      v.picklist(DISABLED_REASONS),
      v.description('Its owner said so, it answered 410, or it failed for five days.'),
    ),
  ),
  disabled_at: v.nullable(sentTime),
  failing_since: v.nullable(
    v.pipe(sentTime, v.description('Since when no attempt has succeeded; null after a success.')),
  ),
  last_success_at: v.nullable(v.pipe(sentTime, v.description('To a minute.'))),
  previous_secret_until: v.nullable(
    v.pipe(sentTime, v.description('Until then messages are signed with the secret before, too.')),
  ),
  created_at: sentTime,
  updated_at: sentTime,
};

/** An endpoint, as its owner sees it. */
export const webhook = named('Webhook', v.strictObject(fields));

const secret = v.pipe(v.string(), v.description('The signing secret; shown in this one answer.'));

/** The same in the answer that makes it; without a secret where the request brought one. */
export const newWebhook = named('NewWebhook', v.strictObject({ ...fields, webhook_secret: v.optional(secret) }));
export const rotatedWebhook = named('RotatedWebhook', v.strictObject({ ...fields, webhook_secret: secret }));

export const webhookExample: v.InferInput<typeof webhook> = {
  id: '01980000-0000-7000-8000-000000000030',
  name: 'orders',
  url: 'https://example.com/hook',
  events: ['task.completed', 'task.failed'],
  enabled: true,
  disabled_reason: null,
  disabled_at: null,
  failing_since: null,
  last_success_at: '2030-01-31T12:00:00.000Z',
  previous_secret_until: null,
  created_at: '2030-01-30T09:00:00.000Z',
  updated_at: '2030-01-30T09:00:00.000Z',
};

const deliveryFields = {
  id: v.pipe(sentId, v.description('The `webhook-id` of the message, in every attempt.')),
  event: v.string(),
  webhook_id: v.nullable(v.pipe(sentId, v.description('The endpoint; null where the task named the URL itself.'))),
  task_id: v.nullable(v.pipe(sentId, v.description('The task that it tells of; null where it is about an endpoint.'))),
  url: v.pipe(v.string(), v.description('Where it is sent, or was sent last.')),
  status: v.picklist(DELIVERY_STATUSES),
  attempt: v.pipe(v.number(), v.integer(), v.description('How often it was sent.')),
  next_attempt_at: v.nullable(sentTime),
  last_status: v.nullable(v.pipe(v.number(), v.integer(), v.description('What the receiver answered last.'))),
  last_error: v.nullable(v.string()),
  created_at: sentTime,
  completed_at: v.nullable(sentTime),
};

/** One message to one address. */
export const delivery = named('Delivery', v.strictObject(deliveryFields));

export const deliveryAttempt = named(
  'DeliveryAttempt',
  v.strictObject({
    attempt: v.pipe(v.number(), v.integer()),
    status: v.nullable(v.pipe(v.number(), v.integer(), v.description('What was answered; null where nothing was.'))),
    error: v.nullable(v.string()),
    response: v.nullable(v.pipe(v.string(), v.description('The first 20 kB of the answer.'))),
    latency_ms: v.pipe(v.number(), v.integer()),
    at: sentTime,
  }),
);

true satisfies Same<Omit<DeliveryAttemptRow, 'delivery_id'>, v.InferOutput<typeof deliveryAttempt>>;

/** A message with every attempt to send it that has ended. */
export const deliveryWithAttempts = named(
  'DeliveryWithAttempts',
  v.strictObject({ ...deliveryFields, attempts: v.array(deliveryAttempt) }),
);

export const deliveryExample: v.InferInput<typeof delivery> = {
  id: '01980000-0000-7000-8000-000000000031',
  event: 'task.completed',
  webhook_id: webhookExample.id,
  task_id: '01980000-0000-7000-8000-000000000001',
  url: 'https://example.com/hook',
  status: 'delivered',
  attempt: 1,
  next_attempt_at: null,
  last_status: 204,
  last_error: null,
  created_at: '2030-01-31T12:00:00.925Z',
  completed_at: '2030-01-31T12:00:01.045Z',
};

export const pendingDeliveryExample: v.InferInput<typeof delivery> = {
  ...deliveryExample,
  status: 'pending',
  attempt: 0,
  next_attempt_at: '2030-01-31T12:00:00.925Z',
  last_status: null,
  completed_at: null,
};

export const deliveryAttemptExample: v.InferInput<typeof deliveryAttempt> = {
  attempt: 1,
  status: 204,
  error: null,
  response: '',
  latency_ms: 112,
  at: '2030-01-31T12:00:01.045Z',
};

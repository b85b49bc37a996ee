import type * as v from 'valibot';
import { expect, it } from 'vitest';
import type { attempt } from '../../src/api/shapes/attempt.ts';
import type { document } from '../../src/api/shapes/document.ts';
import type { explanation } from '../../src/api/shapes/explanation.ts';
import type { queue, worker } from '../../src/api/shapes/queue.ts';
import type { schedule } from '../../src/api/shapes/schedule.ts';
import type { task } from '../../src/api/shapes/task.ts';
import type { timelineEvent } from '../../src/api/shapes/timeline.ts';
import type { delivery, webhook } from '../../src/api/shapes/webhook.ts';
import type { submission } from '../../src/api/submit.ts';
import type {
  Attempt,
  Delivery,
  DocumentInfo,
  Explanation,
  QueueInfo,
  Schedule,
  Task,
  TaskFilter,
  TaskOptions,
  TimelineEvent,
  WebhookEndpoint,
  WebhookEvent,
  WorkerInfo,
} from '../../src/client/index.ts';
import type { DisabledReason } from '../../src/db/schema.ts';
import type { TEST_EVENT } from '../../src/db/webhook-endpoints.ts';
import type { taskFilter } from '../../src/tasks/task-filter.ts';
import type { ENDPOINT_EVENTS, TASK_EVENTS } from '../../src/webhooks/events.ts';

/** Whether all that the API answers is what the client says that it is: the compiler decides. */
type Fits<Answered, Said> = Answered extends Said ? true : false;

it('has types that the answers of the API fit', () => {
  const fits: [
    Fits<v.InferInput<typeof task>, Task>,
    Fits<v.InferInput<typeof attempt>, Attempt>,
    Fits<v.InferInput<typeof explanation>, Explanation>,
    Fits<v.InferInput<typeof schedule>, Schedule>,
    Fits<v.InferInput<typeof timelineEvent>, TimelineEvent>,
    Fits<v.InferInput<typeof webhook>, WebhookEndpoint>,
    Fits<v.InferInput<typeof delivery>, Delivery>,
    Fits<v.InferInput<typeof queue>, QueueInfo>,
    Fits<v.InferInput<typeof worker>, WorkerInfo>,
    Fits<Omit<v.InferInput<typeof document>, 'metadata'>, Omit<DocumentInfo, 'metadata'>>,
  ] = [true, true, true, true, true, true, true, true, true, true];
  expect(fits).not.toContain(false);
});

/** Whether two types have the same names. */
type SameNames<A, B> = Fits<keyof A, keyof B> extends true ? Fits<keyof B, keyof A> : false;

it('knows every field of a submission, every filter of a list, and every field of a queue and a worker', () => {
  const same: [
    SameNames<v.InferInput<typeof queue>, QueueInfo>,
    SameNames<v.InferInput<typeof worker>, WorkerInfo>,
    SameNames<v.InferInput<typeof submission>, TaskOptions & { type: string; input: unknown }>,
    SameNames<typeof taskFilter, TaskFilter>,
  ] = [true, true, true, true];
  expect(same).not.toContain(false);
});

/** Whether two types are each other's. */
type Same<A, B> = Fits<A, B> extends true ? Fits<B, A> : false;
type MessageOf<Type extends WebhookEvent['type']> = Extract<WebhookEvent, { type: Type }>['data'];
type TaskMessage = MessageOf<(typeof TASK_EVENTS)[number]>;
type DeliveredTask = Omit<v.InferInput<typeof task>, 'input' | 'failures'>;

it('says of each message to a webhook what is in it', () => {
  const same: [
    Same<WebhookEvent['type'], (typeof ENDPOINT_EVENTS)[number] | typeof TEST_EVENT>,
    Fits<DeliveredTask, TaskMessage>,
    SameNames<DeliveredTask, TaskMessage>,
    Same<MessageOf<'webhook.disabled'>['reason'], Exclude<DisabledReason, 'owner'>>,
    // They are about a webhook, and so have no task's id.
    'id' extends keyof MessageOf<'webhook.test'> ? false : true,
    'id' extends keyof MessageOf<'webhook.disabled'> ? false : true,
  ] = [true, true, true, true, true, true];
  expect(same).not.toContain(false);
});

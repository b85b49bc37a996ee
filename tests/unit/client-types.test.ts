import type * as v from 'valibot';
import { expect, it } from 'vitest';
import type { attempt } from '../../src/api/shapes/attempt.ts';
import type { document } from '../../src/api/shapes/document.ts';
import type { explanation } from '../../src/api/shapes/explanation.ts';
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
  Schedule,
  Task,
  TaskFilter,
  TaskOptions,
  TimelineEvent,
  WebhookEndpoint,
} from '../../src/client/index.ts';
import type { taskFilter } from '../../src/tasks/task-filter.ts';

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
    Fits<Omit<v.InferInput<typeof document>, 'metadata'>, Omit<DocumentInfo, 'metadata'>>,
  ] = [true, true, true, true, true, true, true, true];
  expect(fits).not.toContain(false);
});

/** Whether two types have the same names. */
type SameNames<A, B> = Fits<keyof A, keyof B> extends true ? Fits<keyof B, keyof A> : false;

it('knows every field of a submission, and every filter of a list', () => {
  const same: [
    SameNames<v.InferInput<typeof submission>, TaskOptions & { type: string; input: unknown }>,
    SameNames<typeof taskFilter, TaskFilter>,
  ] = [true, true];
  expect(same).not.toContain(false);
});

import { DISABLED_EVENT } from '../db/webhook-endpoints.ts';

/** What a task's own webhook and an endpoint hear of unless they say something else. */
export const END_EVENTS = ['task.completed', 'task.failed', 'task.cancelled', 'task.expired'] as const;

/** Everything that is told of a task. */
export const TASK_EVENTS = ['task.started', 'task.progress', ...END_EVENTS] as const;

/** Everything that an endpoint can subscribe to. */
export const ENDPOINT_EVENTS = [...TASK_EVENTS, DISABLED_EVENT] as const;

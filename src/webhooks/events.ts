import { DISABLED_EVENT } from '../db/webhook-endpoints.ts';

/** What a task's own webhook hears of unless it says something else. */
export const END_EVENTS = ['task.completed', 'task.failed', 'task.cancelled', 'task.expired'] as const;

/** Everything that is told of a task. */
export const TASK_EVENTS = ['task.started', 'task.progress', ...END_EVENTS] as const;

/** Everything that an endpoint can subscribe to. */
export const ENDPOINT_EVENTS = [...TASK_EVENTS, DISABLED_EVENT] as const;

/** What an endpoint hears of unless it says something else: how tasks end, and that another endpoint hears nothing any more. */
export const USUAL_EVENTS = [...END_EVENTS, DISABLED_EVENT] as const;

import * as v from 'valibot';
import { DISABLED_EVENT, TEST_EVENT } from '../../db/webhook-endpoints.ts';
import { sentId, sentTime } from '../../tasks/named.ts';
import { TASK_EVENTS } from '../../webhooks/events.ts';
import { taskExample, toldTask } from './task.ts';
import { webhookExample } from './webhook.ts';

/** What a message to a webhook says, by its event. */
export interface Message {
  summary: string;
  body: v.GenericSchema<unknown, unknown>;
  example: object;
}

const SUMMARIES: Record<(typeof TASK_EVENTS)[number], string> = {
  'task.started': 'An attempt of a task has begun',
  'task.progress': 'How far a task is',
  'task.completed': 'A task was completed',
  'task.failed': 'A task has failed',
  'task.cancelled': 'A task was cancelled',
  'task.expired': 'A task was not done before its deadline',
};

const { input: _, failures: __, ...told } = taskExample;
const { id, name, url } = webhookExample;
const TIME = '2030-01-31T12:00:00.025Z';
const RUNNING = { output: null, completed_at: null };
const ERROR = { code: 'timeout', message: 'The task did not end within 30000 ms.', retryable: true };

const EXAMPLES: Record<(typeof TASK_EVENTS)[number], object> = {
  'task.started': { ...RUNNING, status: 'running' },
  'task.progress': { ...RUNNING, status: 'running', progress: { percent: 40, message: '2 of 5' } },
  'task.completed': {},
  'task.failed': { status: 'failed', output: null, error: ERROR },
  'task.cancelled': { status: 'cancelled', output: null, cancel_reason: 'a typing error' },
  'task.expired': { status: 'expired', output: null },
};

/** Every message that a webhook may get; the address it goes to is its user's. */
export const MESSAGES: Record<string, Message> = {
  ...Object.fromEntries(
    TASK_EVENTS.map((event) => [event, message(SUMMARIES[event], event, toldTask, { ...told, ...EXAMPLES[event] })]),
  ),
  [DISABLED_EVENT]: message(
    'Another webhook of the same account was disabled, because of what it answered',
    DISABLED_EVENT,
    v.strictObject({
      webhook_id: sentId,
      name: v.nullable(v.string()),
      url: v.string(),
      reason: v.picklist(['gone', 'failing']),
      disabled_at: sentTime,
    }),
    { webhook_id: id, name, url, reason: 'gone', disabled_at: TIME },
  ),
  [TEST_EVENT]: message(
    'Somebody asked for a test',
    TEST_EVENT,
    v.strictObject({ webhook_id: sentId, message: v.string() }),
    { webhook_id: id, message: 'A test: this address receives the webhooks of SutazAI.' },
  ),
};

function message(summary: string, type: string, data: v.GenericSchema<unknown, unknown>, example: object): Message {
  return {
    summary,
    body: v.strictObject({ type: v.literal(type), timestamp: sentTime, data }),
    example: { type, timestamp: TIME, data: example },
  };
}

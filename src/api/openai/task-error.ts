import type { TaskRow } from '../../db/tasks/read.ts';
import type { TaskErrorCode } from '../../task-error-codes.ts';
import { OpenAiError } from './error.ts';

/** The status that a task which failed with this code is answered with, and OpenAI's word for it where there is one. */
const FAILED: Record<TaskErrorCode, [status: number, code?: string]> = {
  invalid_input: [400],
  invalid_output: [500],
  output_too_large: [500],
  model_unavailable: [404, 'model_not_found'],
  model_error: [400, 'unsupported_model'],
  context_exceeded: [400, 'context_length_exceeded'],
  collection_not_found: [404],
  document_unreadable: [400],
  document_busy: [503],
  document_deleted: [404],
  dimension_mismatch: [400],
  egress_refused: [400],
  agent_not_found: [404],
  agent_busy: [503],
  agent_failed: [500],
  agent_call_lost: [500],
  upstream_unavailable: [503],
  upstream_rate_limited: [503],
  upstream_rejected: [400],
  upstream_protocol: [500],
  agent_limit: [504],
  callback_timeout: [504],
  callback_unavailable: [500],
  step_failed: [500],
  timeout: [504],
  unknown_task_type: [503],
  poison: [500],
  forbidden: [403],
  limit_reached: [409],
  model_changed: [409],
  internal_error: [500],
};

/** Every status that a task which came to nothing is answered with. */
export const TASK_STATUSES = [...new Set([...Object.values(FAILED).map(([status]) => status), 409])] as const;

/** The error that a task came to which ended without an output. The queue has tried it as often as it may: to try again is no use. */
export function errorOfTask({ id, status, error, cancel_reason }: TaskRow): OpenAiError {
  const headers = { 'x-should-retry': 'false', 'x-task-id': id };
  if (status === 'cancelled') {
    const why = cancel_reason ? ` (${cancel_reason})` : '';
    return new OpenAiError(409, 'task_cancelled', `The task ${id} was cancelled${why}.`, { headers });
  }
  if (status === 'expired') return new OpenAiError(504, 'task_expired', `The task ${id} was too late.`, { headers });
  const { code = 'internal_error', message = 'Internal error' } = error ?? {};
  const [answer, word] = FAILED[code as TaskErrorCode] ?? [500];
  return new OpenAiError(answer, word ?? code, message, {
    ...(word === 'model_not_found' || word === 'unsupported_model' ? { param: 'model' } : {}),
    headers,
  });
}

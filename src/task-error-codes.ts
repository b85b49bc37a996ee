/** The closed list of machine words that end a task with an error, and what they mean. `docs/errors.md` shows this table. */
export const TASK_ERRORS = {
  invalid_input: 'the input does not fit what the task does, which only its run could tell',
  invalid_output: 'what was made does not fit the task type, or cannot be stored as JSON',
  output_too_large: 'what was made, or what a host sent, is larger than MAX_OUTPUT_BYTES',
  model_unavailable: 'no host has a model that fits',
  model_error: 'the model answered with an error',
  model_changed:
    'the name of the embedding model of a collection stands for another model now, whose vectors do not compare',
  context_exceeded: 'the text does not fit the context of the model; it is never cut off in silence',
  limit_reached: 'the account has as many of something as it may have',
  collection_not_found: 'there is no such collection of yours',
  document_unreadable:
    'the document cannot be read: it is of another format, broken, encrypted, without text, or too large',
  document_busy:
    'another task is at work on a document of the same content, or others are read for long; this one waits for it',
  document_deleted: 'the document was deleted while it was ingested',
  dimension_mismatch: 'a vector has another length than those of the collection',
  agent_failed: 'the agent answered that it has failed',
  agent_call_lost: 'a call of an agent that must not be repeated broke off, and nobody knows what became of it',
  egress_refused: 'the URL leads to a private address',
  agent_not_found: 'there is no such agent of yours and no shared one, or none that can do it, or it is switched off',
  agent_busy: 'the agent has as many calls as it may have, at a time or in a minute; this one waits for its turn',
  upstream_unavailable: 'a service that is needed does not answer, or is full',
  upstream_rate_limited: 'a service that is needed asks for fewer calls (429)',
  upstream_rejected: 'a service answered that it will not do this',
  upstream_protocol: 'a service answered something that it should not',
  agent_limit: 'an agent of a model and tools has not answered within its steps, tokens or seconds',
  callback_timeout: 'nobody called back in time',
  step_failed: 'a step of the workflow failed; the message says which, and why',
  callback_unavailable: 'nobody could call back, because PUBLIC_URL is not set where the worker runs',
  timeout: 'an attempt took longer than `timeout_seconds`',
  unknown_task_type: 'no worker knows the task type any more',
  poison: 'three workers were lost while they ran the task',
  forbidden: 'whoever submitted the task may not do any more what it does to others',
  internal_error: 'a fault of ours; the log has the rest under the id of the task',
} as const satisfies Record<string, string>;

export type TaskErrorCode = keyof typeof TASK_ERRORS;

/**
 * The stable machine words of every problem that the API answers. The HTTP status, the title and what to do are said here
 * and nowhere else, so a code means the same on every route.
 */
export const PROBLEMS = {
  bad_request: {
    status: 400,
    title: 'Bad request',
    help: 'The request cannot be read: look at the detail, mend the request, and send it again.',
  },
  unauthorized: {
    status: 401,
    title: 'Authentication required',
    help: 'Log in with POST /api/v1/auth/login and send the access token as `Authorization: Bearer <token>`.',
  },
  invalid_credentials: {
    status: 401,
    title: 'Wrong name or password',
    help: 'Check the user name or e-mail address and the password. Which of them is wrong is not said.',
  },
  invalid_token: {
    status: 401,
    title: 'Invalid token',
    help: 'The token is expired, revoked or not of this API. Refresh it with POST /api/v1/auth/refresh, or log in again.',
  },
  forbidden: {
    status: 403,
    title: 'Not allowed',
    help: 'Your account lacks the permission that the detail names. An administrator can give you another role.',
  },
  registration_closed: {
    status: 403,
    title: 'Registration is closed',
    help: 'Ask an administrator for an account, or have REGISTRATION=open set.',
  },
  invitation_needed: {
    status: 403,
    title: 'An invitation is needed',
    help: 'Ask an administrator for an invitation and send it as `invitation` when you register. Each is good for one account, and until its end.',
  },
  not_found: {
    status: 404,
    title: 'Not found',
    help: 'There is no such thing, or it belongs to somebody else: the two look the same. Check the path and the id.',
  },
  method_not_allowed: {
    status: 405,
    title: 'Method not allowed',
    help: 'The path exists, but not with this method; the header Allow lists those that do.',
  },
  already_exists: { status: 409, title: 'Already exists', help: 'Choose another name, or use what is there.' },
  limit_reached: {
    status: 409,
    title: 'Limit reached',
    help: 'The account has as many of these as it may have. Remove one that is not needed any more, then try again.',
  },
  already_refreshed: {
    status: 409,
    title: 'Already refreshed',
    help: 'Another request has just exchanged the same refresh token. Use the tokens that it got.',
  },
  last_administrator: {
    status: 409,
    title: 'The last administrator',
    help: 'Somebody has to be able to administer. Make another account an active administrator first.',
  },
  task_ended: {
    status: 409,
    title: 'The task has already ended',
    help: 'An ended task cannot be cancelled. Read it with GET, or run it again with POST …/retry.',
  },
  not_waiting: {
    status: 409,
    title: 'Nothing waits for this decision',
    help: 'The step was decided already, its time is over, or it has not come so far: GET /api/v1/tasks/{id}/graph says where it stands.',
  },
  task_running: {
    status: 409,
    title: 'The task has not ended',
    help: 'Only an ended task can be retried or deleted. Wait for its end, or cancel it first.',
  },
  parent_running: {
    status: 409,
    title: 'What it is part of has not ended',
    help: 'The task is part of another one, which its `parent_id` names and which goes on with what it gave. Wait for the end of that one, or cancel it first; then retry it, or retry or delete the part.',
  },
  payload_deleted: {
    status: 409,
    title: 'The payload is deleted',
    help: 'The input of the task was deleted, on request or because its time was over, so it cannot run again. Submit a new task with POST /api/v1/tasks.',
  },
  concurrency_limit: {
    status: 409,
    title: 'Concurrency limit reached',
    help: 'As many tasks with this concurrency key as its limit allows have not ended, and the policy is `reject`; `tasks` names the newest of them. Wait for their end or cancel one, or submit with the policy `queue` or `cancel_running`.',
  },
  callback_used: {
    status: 409,
    title: 'The callback was used',
    help: 'An address to call back at takes one request, and this one has had it: what was sent then counts. Nothing is to be done.',
  },
  idempotency_key_in_use: {
    status: 409,
    title: 'Idempotency key in use',
    help: 'The first request with this Idempotency-Key is still at work. Wait as long as Retry-After says and send the same request again.',
  },
  delivery_running: {
    status: 409,
    title: 'The message is being sent',
    help: 'An attempt is under way. Wait for what comes of it with GET /api/v1/deliveries/{id}, then ask again if it failed.',
  },
  model_in_use: {
    status: 409,
    title: 'The model is in use',
    help: 'Tasks run that use the model. Wait for their end or cancel them, then delete it again.',
  },
  model_changed: {
    status: 409,
    title: 'The embedding model is another one now',
    help: 'The hosts have another model under the name by which the collection was embedded, and its vectors cannot be compared with those that are there. Bring the old model back, or make a new collection and ingest again; the search mode `text` works as before.',
  },
  model_kept: {
    status: 409,
    title: 'The model was kept',
    help: 'A host does not delete the model, for the reason that the detail tells; those of the embedded model server that it brings itself stay.',
  },
  webhook_disabled: {
    status: 409,
    title: 'The webhook is disabled',
    help: 'Nothing is sent to it. Look at its `disabled_reason`, mend the receiver, and enable it with PATCH /api/v1/webhooks/{id} and `{"enabled": true}`. One that was removed does not come back.',
  },
  callback_over: {
    status: 410,
    title: 'Nobody waits for this any more',
    help: 'The task that gave the address out has ended, or was run again with new ones. Nothing is to be done.',
  },
  body_too_large: {
    status: 413,
    title: 'Body too large',
    help: 'Split the request into smaller ones, or ask an operator to raise MAX_BODY_BYTES (of a file that is uploaded: MAX_FILE_BYTES).',
  },
  unsupported_media_type: {
    status: 415,
    title: 'Unsupported media type',
    help: 'Send JSON with the header `Content-Type: application/json`.',
  },
  validation_failed: {
    status: 422,
    title: 'Validation failed',
    help: 'Each entry of `errors` points at a field and says what is wrong with it. GET /api/v1/task-types shows what each task type takes.',
  },
  'quota-exceeded': {
    status: 429,
    title: 'Quota exceeded',
    help: 'You asked for more than you may have; `violated-policies` names the limit. Wait as long as Retry-After says and send the same request again. An administrator can raise the limit of a user.',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'Idempotency key used before',
    help: 'An earlier request of yours asked for something else under the same Idempotency-Key. Make a new key for each new request, and keep it for repetitions of the same one.',
  },
  internal_error: {
    status: 500,
    title: 'Internal error',
    help: 'This is a fault of ours. Tell the operator the request id; the log has the rest under it.',
  },
  'temporary-reduced-capacity': {
    status: 503,
    title: 'Temporarily unable to accept',
    help: 'Something that is needed does not answer or is full. Wait as long as Retry-After says and send the same request again.',
  },
} as const satisfies Record<string, { status: number; title: string; help: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

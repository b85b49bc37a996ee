import * as v from 'valibot';
import { newId } from '../db/ids.ts';
import { CONCURRENCY_POLICIES, type TaskWebhook } from '../db/schema.ts';
import type { NewTask } from '../db/tasks/accept.ts';
import { type FieldError, ProblemError } from '../errors.ts';
import type { SecretBox } from '../secretbox.ts';
import type { TaskType } from '../tasks/define.ts';
import type { Registry } from '../tasks/index.ts';
import { named } from '../tasks/named.ts';
import { jsonObject, maxCharacters, strictObject, wholeNumber } from '../tasks/schemas.ts';
import { END_EVENTS, TASK_EVENTS } from '../webhooks/events.ts';
import { isWebhookSecret, newWebhookSecret } from '../webhooks/sign.ts';
import { fieldErrors, time } from './validate.ts';

const seconds = (max: number) =>
  v.pipe(
    v.number('must be a number of seconds'),
    v.minValue(0, 'must not be negative'),
    v.maxValue(max, `must be at most ${max}`),
  );
const DAY = 86_400;

const fields = strictObject({
  type: v.string(),
  input: v.unknown(),
  title: v.optional(v.pipe(v.string(), maxCharacters(255))),
  priority: v.optional(
    v.pipe(
      v.number(),
      v.integer('must be a whole number'),
      v.minValue(1, 'must be from 1 (first) to 10 (last)'),
      v.maxValue(10, 'must be from 1 (first) to 10 (last)'),
    ),
  ),
  metadata: v.optional(jsonObject, {}),
  tags: v.optional(
    v.pipe(
      v.array(v.pipe(v.string(), v.minLength(1, 'must not be empty'), maxCharacters(100))),
      v.maxLength(50, 'must be at most 50 tags'),
    ),
    [],
  ),
  scheduled_for: v.optional(time),
  delay_seconds: v.optional(seconds(365 * DAY)),
  expires_in_seconds: v.optional(v.pipe(seconds(365 * DAY), v.minValue(1, 'must be at least 1'))),
  timeout_seconds: v.optional(v.pipe(seconds(DAY), v.minValue(1, 'must be at least 1'))),
  max_attempts: v.optional(wholeNumber(1, 100)),
  agent_id: v.optional(v.pipe(v.string(), v.uuid('must be the id of an agent'))),
  concurrency_key: v.optional(
    strictObject({
      key: v.pipe(v.string(), v.minLength(1, 'must not be empty'), maxCharacters(200)),
      limit: v.optional(wholeNumber(1, 10_000), 1),
      policy: v.optional(
        v.picklist(CONCURRENCY_POLICIES, `must be one of ${CONCURRENCY_POLICIES.join(', ')}`),
        'queue',
      ),
    }),
  ),
  webhook: v.optional(
    strictObject({
      url: v.pipe(v.string(), maxCharacters(2048)),
      events: v.optional(
        v.pipe(
          v.array(v.picklist(TASK_EVENTS, `must be one of ${TASK_EVENTS.join(', ')}`)),
          v.minLength(1, 'must name at least one event'),
        ),
        [...END_EVENTS],
      ),
      secret: v.optional(v.pipe(v.string(), v.check(isWebhookSecret, 'must be whsec_ and 24–64 bytes in base64'))),
    }),
  ),
});

/** What a client may say of a task; everything else is refused. */
export const submission = named('NewTask', fields);

/** What a schedule may say of its task: all but when it starts. */
export const scheduledTask = named('ScheduledTask', v.omit(fields, ['scheduled_for', 'delay_seconds']));

export type Submission = v.InferOutput<typeof submission>;

/** What submissions are checked against. */
export interface PrepareContext {
  registry: Registry;
  box: SecretBox;
  /** What is wrong with a URL that users want to be called. */
  checkUrl: (url: string) => string | undefined;
}

interface Given {
  userId: string;
  requestId: string | null;
  batchId: string | null;
  watched: boolean;
  /** Of a submission that names none. */
  usualPriority: number;
  /** The route that makes it, where that is not the one for all tasks. */
  route?: string;
  /** Where the submission stands in the body, as a JSON pointer. */
  pointer: string;
}

/** A task made of a submission, or what is wrong with it. `secret` is the webhook secret where it was made here. */
export type Prepared = { task: NewTask; secret: string | undefined } | { errors: FieldError[] };

/** Checks a submission against its task type and makes the row of it. */
export function prepareTask(
  given: Submission,
  { userId, requestId, batchId, watched, usualPriority, pointer, route }: Given,
  { registry, box, checkUrl }: PrepareContext,
): Prepared {
  const type = registry.find(given.type);
  if (!type) {
    const names = registry.list().map(({ name }) => name);
    return { errors: [{ pointer: `${pointer}/type`, detail: `is not a task type; there are ${names.join(', ')}` }] };
  }
  if (type.route !== route)
    return { errors: [{ pointer: `${pointer}/type`, detail: `is made by ${type.route} alone` }] };
  const errors: FieldError[] = [];
  const input = v.safeParse(type.input, given.input);
  if (!input.success) errors.push(...fieldErrors(input.issues, `${pointer}/input`));
  else errors.push(...urlErrors(type, input.output as Record<string, unknown>, pointer, checkUrl));
  if (given.scheduled_for !== undefined && given.delay_seconds !== undefined) {
    errors.push({ pointer: `${pointer}/delay_seconds`, detail: 'cannot stand beside scheduled_for' });
  }
  errors.push(...deadlineErrors(given, pointer));
  const wrongUrl = given.webhook && checkUrl(given.webhook.url);
  if (wrongUrl) errors.push({ pointer: `${pointer}/webhook/url`, detail: wrongUrl });
  if (errors.length > 0) return { errors };

  const secret = given.webhook && !given.webhook.secret ? newWebhookSecret() : undefined;
  const task: NewTask = {
    id: newId(),
    user_id: userId,
    type: type.name,
    lane: type.lane,
    title: given.title ?? null,
    priority: given.priority ?? usualPriority,
    input: given.input,
    max_attempts: given.max_attempts ?? type.defaults.attempts,
    timeout_ms: Math.round((given.timeout_seconds ?? type.defaults.timeoutSeconds) * 1000),
    metadata: given.metadata,
    tags: given.tags,
    batch_id: batchId,
    ...(given.agent_id ? { agent_id: given.agent_id } : {}),
    ...(given.concurrency_key ? keyColumns(given.concurrency_key) : {}),
    webhook: given.webhook ? sealWebhook(given.webhook, secret, box) : null,
    request_id: requestId,
    scheduled_for: given.scheduled_for?.toISOString() ?? null,
    delay_ms: given.delay_seconds ? Math.round(given.delay_seconds * 1000) : null,
    expires_in_ms: given.expires_in_seconds === undefined ? null : Math.round(given.expires_in_seconds * 1000),
    watched,
  };
  return { task, secret };
}

function keyColumns({ key, limit, policy }: NonNullable<Submission['concurrency_key']>) {
  return { concurrency_key: key, concurrency_limit: limit, concurrency_policy: policy };
}

/** A task that expires before it may start would never run. */
function deadlineErrors(given: Submission, pointer: string): FieldError[] {
  const { scheduled_for, delay_seconds, expires_in_seconds } = given;
  const start = scheduled_for ? (scheduled_for.getTime() - Date.now()) / 1000 : (delay_seconds ?? 0);
  if (expires_in_seconds === undefined || start <= 0 || expires_in_seconds > start) return [];
  const name = scheduled_for ? 'scheduled_for' : 'delay_seconds';
  const detail = `must be later than the start that ${name} names (in ${Math.ceil(start)} s): the task would expire before; so with Cancel-After`;
  return [{ pointer: `${pointer}/expires_in_seconds`, detail }];
}

function urlErrors(
  { urls = [] }: TaskType,
  input: Record<string, unknown>,
  pointer: string,
  checkUrl: PrepareContext['checkUrl'],
): FieldError[] {
  return urls.flatMap((field) => {
    if (input[field] === undefined) return [];
    const detail = checkUrl(String(input[field]));
    return detail === undefined ? [] : [{ pointer: `${pointer}/input/${field}`, detail }];
  });
}

function sealWebhook(
  { url, events, secret }: NonNullable<Submission['webhook']>,
  made: string | undefined,
  box: SecretBox,
): TaskWebhook {
  return { url, events, secret: box.seal(secret ?? (made as string)).toString('base64') };
}

const WAIT_MAX_SECONDS = 55;

/** How long `Prefer: wait=n` (RFC 7240) asks to hold the answer, in seconds; `undefined` where it does not ask. */
export function parsePreferWait(header: string | undefined): number | undefined {
  const match = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?/i.exec(header ?? '');
  const asked = Number(match?.[1] ?? 0);
  return asked > 0 ? Math.min(asked, WAIT_MAX_SECONDS) : undefined;
}

const UNITS = { s: 1, m: 60, h: 3600 };

/** Adds the deadline of a `Cancel-After: 90s` header to a submission; where that names one too, the earlier counts. */
export function applyCancelAfter(given: Submission, header: string | undefined): Submission {
  if (header === undefined) return given;
  const match = /^(\d{1,8})\s*([smh]?)$/.exec(header.trim());
  const after = match ? Number(match[1]) * UNITS[(match[2] || 's') as keyof typeof UNITS] : 0;
  if (after < 1 || after > 365 * DAY)
    throw new ProblemError('bad_request', 'The header Cancel-After wants a time such as 90s, 10m or 2h.');
  return { ...given, expires_in_seconds: Math.min(after, given.expires_in_seconds ?? after) };
}

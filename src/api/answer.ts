import * as v from 'valibot';
import type { Answer } from './route.ts';

type Schema = v.GenericSchema<unknown, unknown>;

/** Headers of requests, in the words of the reference. */
export const REQUEST_HEADERS = {
  'Idempotency-Key':
    'A key of your own making, such as a UUID: the same request sent again with it is done once, and answered as the first time.',
  Prefer: '`wait=30` holds the answer until the task has ended, for at most so many seconds, up to 55.',
  'Cancel-After': 'A time such as `90s`, `10m` or `2h`, after which the task is not wanted any more.',
  'If-None-Match': 'The `ETag` of an earlier answer: 304 while nothing has changed.',
  'Last-Event-ID': 'The id of the last event that was seen: the stream goes on behind it.',
  'X-Request-Id': 'An id of your own, 8 to 64 letters, digits, `-` or `_`; it is answered, and stands in the log.',
} as const;

export type RequestHeader = keyof typeof REQUEST_HEADERS;

/** Headers of answers, in the words of the reference. A route names those that it sends beside the usual ones. */
export const ANSWER_HEADERS = {
  Location: 'The address of what was made.',
  'Retry-After': 'In how many seconds it makes sense to ask again.',
  'Preference-Applied': 'How long the answer was held, as `Prefer: wait=n` asked for: `wait=30`.',
  ETag: 'What the answer says, in short: send it as `If-None-Match` to get 304 while nothing has changed.',
  'Idempotency-Replayed': '`true` where this is the answer to an earlier request with the same `Idempotency-Key`.',
  'Cache-Control': 'Whether, and by whom, the answer may be kept.',
  'X-Request-Id': 'The id of this request, which the log has too: the one that was sent, or a new one.',
  'RateLimit-Policy': 'The limit that holds for this request, as `"name";q=requests;w=seconds`.',
  RateLimit: 'What is left of it: `"name";r=requests;t=seconds until it is whole again`.',
  'WWW-Authenticate': 'How to authenticate (RFC 6750).',
  'X-Task-Id': 'The task that does what was asked for: GET /api/v1/tasks/{id} reads it.',
  'X-Should-Retry': '`false` where the queue has tried already, and the same request would only fail once more.',
  Allow: 'The methods that the path knows.',
} as const;

export type AnswerHeader = keyof typeof ANSWER_HEADERS;

/**
 * One answer of a route with a JSON body.
 * @param body describes every field that is sent: objects are strict
 * @param example as it is sent, so times are texts
 * @param headers beside the usual ones
 */
export function answers<S extends Schema>(
  description: string,
  body: S,
  example: v.InferInput<S>,
  headers: AnswerHeader[] = [],
): Answer {
  return { description, body, example, headers };
}

/** One answer without a body. */
export function answersNothing(description: string, headers: AnswerHeader[] = []): Answer {
  return { description, headers };
}

/** One answer that is not JSON, such as `text/html` or `text/event-stream`. */
export function answersText(
  description: string,
  contentType: string,
  example: string,
  headers: AnswerHeader[] = [],
): Answer {
  return { description, texts: { [contentType]: example }, headers };
}

/** A page of a list. */
export function pageOf<S extends Schema>(item: S) {
  return v.strictObject({
    data: v.array(item),
    next_cursor: v.nullable(
      v.pipe(v.string(), v.description('Send it as `cursor` to get the next page; null on the last one.')),
    ),
  });
}

/** `true` where two types say the same, so that a presenter and its schema cannot drift: `true satisfies Same<A, B>`. */
export type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;

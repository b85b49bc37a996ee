import * as v from 'valibot';
import { PROBLEMS, type ProblemCode } from '../../errors.ts';
import { named, sentId } from '../../tasks/named.ts';
import type { AnswerHeader } from '../answer.ts';
import type { Policy } from '../policy.ts';
import type { Route } from '../route.ts';

const CODES = Object.keys(PROBLEMS) as ProblemCode[];

/** What `problemOf` sends (RFC 9457). */
export const problem = named(
  'Problem',
  v.strictObject({
    type: v.pipe(
      v.string(),
      v.description('The address of a page that says what to do.'),
      v.metadata({ format: 'uri' }),
    ),
    title: v.string(),
    status: v.pipe(v.number(), v.integer()),
    detail: v.pipe(v.string(), v.description('What is wrong with this request.')),
    instance: v.pipe(v.string(), v.description('The path that was asked for.')),
    code: v.pipe(v.picklist(CODES), v.description('A word for programs, which stays the same.')),
    request_id: v.string(),
    errors: v.optional(
      v.array(
        v.strictObject({
          detail: v.string(),
          pointer: v.pipe(v.string(), v.description('A JSON pointer into the body, or the name of a parameter.')),
        }),
      ),
    ),
    tasks: v.optional(v.pipe(v.array(sentId), v.description('Of `concurrency_limit`: the tasks that hold the key.'))),
    'violated-policies': v.optional(v.array(v.string())),
  }),
);

/** The problems that a route may answer, by status: those that follow from what it is, and its own. */
export function problemsOf(route: Route, policy: Policy): Map<number, ProblemCode[]> {
  const codes = new Set<ProblemCode>([
    'validation_failed',
    'internal_error',
    'temporary-reduced-capacity',
    ...(route.problems ?? []),
  ]);
  const add = (when: unknown, ...more: ProblemCode[]) => {
    if (when) for (const code of more) codes.add(code);
  };
  const isOpen = policy === 'public' || policy === 'signed';
  add(!isOpen, 'bad_request', 'unauthorized', 'invalid_token', 'forbidden', 'quota-exceeded');
  add(policy === 'signed', 'invalid_token', 'quota-exceeded');
  add(route.limited, 'quota-exceeded');
  add(route.method !== 'GET', 'body_too_large');
  add(route.body || route.upload, 'bad_request', 'unsupported_media_type');
  add(route.upload, 'limit_reached');
  add(route.path.includes(':'), 'not_found');
  add(route.idempotent, 'idempotency_key_reused', 'idempotency_key_in_use');
  const inOrder = CODES.filter((code) => codes.has(code));
  return new Map([...Map.groupBy(inOrder, (code) => PROBLEMS[code].status as number)].sort(([a], [b]) => a - b));
}

/** Headers of problems beside those of every answer. */
export function problemHeaders(status: number): AnswerHeader[] {
  if (status === 401) return ['Cache-Control', 'WWW-Authenticate'];
  return [409, 429, 503].includes(status) ? ['Cache-Control', 'Retry-After'] : ['Cache-Control'];
}

const DETAILS: Partial<Record<ProblemCode, string>> = {
  validation_failed: 'The body is not valid.',
  internal_error: 'Internal error',
};

const FIELDS: Partial<Record<ProblemCode, object>> = {
  validation_failed: { errors: [{ detail: 'is missing', pointer: '#/input/message' }] },
  concurrency_limit: { tasks: ['0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10'] },
  'quota-exceeded': { 'violated-policies': ['requests_per_minute'] },
};

/** An example of each problem, by code. */
export const PROBLEM_EXAMPLES = Object.fromEntries(
  CODES.map((code) => {
    const { status, title, help } = PROBLEMS[code];
    const value = {
      type: `http://127.0.0.1:3000/docs/problems/${code}`,
      ...{ title, status, detail: DETAILS[code] ?? help, instance: '/api/v1/tasks', code },
      request_id: 'b9ff1c0e-4a4e-4f8f-9d43-0d2ab2d2b3a1',
      ...FIELDS[code],
    };
    return [code, { summary: title, description: help, value }];
  }),
);

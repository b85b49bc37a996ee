import { expect } from 'vitest';
import { describeError, type OpenAiErrorBody } from '../../src/api/openai/error.ts';
import { PROBLEMS, type ProblemCode, ProblemError } from '../../src/errors.ts';
import type { Answer } from './world.ts';

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  code: string;
  request_id: string;
  'violated-policies'?: string[];
  tasks?: string[];
  errors?: Array<{ detail: string; pointer: string }>;
}

/** Fails unless the answer is a whole problem (RFC 9457), or below `/v1` an error of OpenAI's shape, with this code; answers it. */
export function expectProblem(
  answer: Pick<Answer<unknown>, 'status' | 'headers' | 'body'>,
  code: ProblemCode,
): Problem {
  if ((answer.body as { error?: unknown }).error !== undefined) return expectOpenAiError(answer, code);
  const problem = answer.body as Problem;
  const { status, title } = PROBLEMS[code];
  expect(problem, JSON.stringify(problem)).toMatchObject({ code, status, title });
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  expect(problem.type).toMatch(new RegExp(`^https?://[^/]+/docs/problems/${code}$`));
  expect(problem.detail).not.toBe('');
  expect(problem.instance).toMatch(/^\//);
  expect(problem.request_id).toBe(answer.headers.get('x-request-id'));
  const known = [
    'type',
    'title',
    'status',
    'detail',
    'instance',
    'code',
    'request_id',
    'errors',
    'violated-policies',
    'tasks',
  ];
  expect(Object.keys(problem).filter((name) => !known.includes(name))).toEqual([]);
  return problem;
}

/** The same of OpenAI's shape; answers it as the problem that it says. */
function expectOpenAiError(
  { status, headers, body }: Pick<Answer<unknown>, 'status' | 'headers' | 'body'>,
  code: ProblemCode,
): Problem {
  const { error } = body as OpenAiErrorBody;
  const said = describeError(new ProblemError(code, ''));
  expect([status, error.type, error.code], JSON.stringify(body)).toEqual([
    said.status,
    said.body.error.type,
    said.body.error.code,
  ]);
  expect(Object.keys(error).sort()).toEqual(['code', 'message', 'param', 'type']);
  expect(headers.get('content-type')).toBe('application/json');
  expect(headers.get('x-request-id')).toBeTruthy();
  expect(error.message).not.toBe('');
  const pointer = `#${(error.param ?? '').replace(/\[(\d+)\]/g, '.$1').replace(/^|\./g, '/')}`;
  return {
    ...{ type: '', title: '', status, detail: error.message, instance: '', code, request_id: '' },
    errors: [{ detail: error.message, pointer: error.param === null ? '#' : pointer }],
  };
}

/** The pointers of a problem, in order. */
export function pointersOf(problem: Problem): string[] {
  return (problem.errors ?? []).map(({ pointer }) => pointer);
}

/** Everything that a problem says, without the address of its page. */
export function textOf({ type: _, ...said }: Problem): string {
  return JSON.stringify(said);
}

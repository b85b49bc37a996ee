import { expect } from 'vitest';
import { PROBLEMS, type ProblemCode } from '../../src/errors.ts';
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
  errors?: Array<{ detail: string; pointer: string }>;
}

/** Fails unless the answer is a whole problem (RFC 9457) with this code; answers it. */
export function expectProblem(
  answer: Pick<Answer<unknown>, 'status' | 'headers' | 'body'>,
  code: ProblemCode,
): Problem {
  const problem = answer.body as Problem;
  const { status, title } = PROBLEMS[code];
  expect(problem, JSON.stringify(problem)).toMatchObject({ code, status, title });
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  expect(problem.type).toMatch(new RegExp(`^https?://[^/]+/docs/problems/${code}$`));
  expect(problem.detail).not.toBe('');
  expect(problem.instance).toMatch(/^\//);
  expect(problem.request_id).toBe(answer.headers.get('x-request-id'));
  const known = ['type', 'title', 'status', 'detail', 'instance', 'code', 'request_id', 'errors', 'violated-policies'];
  expect(Object.keys(problem).filter((name) => !known.includes(name))).toEqual([]);
  return problem;
}

/** The pointers of a problem, in order. */
export function pointersOf(problem: Problem): string[] {
  return (problem.errors ?? []).map(({ pointer }) => pointer);
}

/** Everything that a problem says, without the address of its page. */
export function textOf({ type: _, ...said }: Problem): string {
  return JSON.stringify(said);
}

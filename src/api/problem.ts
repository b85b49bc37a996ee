import { HTTPException } from 'hono/http-exception';
import { isDatabaseAway } from '../db/away.ts';
import { Overloaded } from '../db/batch.ts';
import { PROBLEMS, ProblemError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { metrics } from '../telemetry/metrics.ts';
import { describeError, isOpenAi, OpenAiError } from './openai/error.ts';

/** What a problem says of the request that met it. */
interface Occurrence {
  /** The path that was asked for. */
  instance: string;
  requestId: string;
  /** The address of the API, without a slash at the end; the pages of the problems are below it. */
  base: string;
}

/**
 * Turns whatever was thrown into a problem (RFC 9457), or below `/v1` into an error of OpenAI's shape. What is not ours says
 * "Internal error" and the request id, nothing else.
 */
export function problemOf(error: unknown, { instance, requestId, base }: Occurrence, log: Logger): Response {
  const problem = knownError(error);
  metrics.httpProblems.inc({ code: problem.code });
  if (problem.code === 'internal_error') log.error({ err: error, request_id: requestId }, 'unexpected error');
  if (problem instanceof OpenAiError || isOpenAi(instance)) {
    const { status, body, headers } = describeError(problem);
    return answer(status, body, 'application/json', { 'X-Request-Id': requestId, ...headers });
  }
  const { status, title } = PROBLEMS[problem.code];
  const body = {
    type: `${base}/docs/problems/${problem.code}`,
    title,
    status,
    detail: problem.message,
    instance,
    code: problem.code,
    request_id: requestId,
    ...(problem.errors ? { errors: problem.errors } : {}),
    ...(problem.tasks ? { tasks: problem.tasks } : {}),
    ...(problem.policies ? { 'violated-policies': problem.policies } : {}),
  };
  return answer(status, body, 'application/problem+json', { 'X-Request-Id': requestId, ...problem.headers });
}

function answer(status: number, body: object, type: string, headers: Record<string, string>): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'Content-Type': type, 'Cache-Control': 'no-store', ...headers },
  });
}

/** What was thrown as what may be said of it. */
function knownError(error: unknown): ProblemError | OpenAiError {
  if (error instanceof ProblemError || error instanceof OpenAiError) return error;
  if (error instanceof HTTPException && error.status < 500)
    return new ProblemError('bad_request', error.message || 'The request is not valid.');
  if (isDatabaseAway(error) || error instanceof Overloaded) {
    return new ProblemError(
      'temporary-reduced-capacity',
      'The database does not answer, so nothing can be stored. Try again shortly.',
      { headers: { 'Retry-After': '5' }, cause: error },
    );
  }
  return new ProblemError('internal_error', 'Internal error');
}

import { HTTPException } from 'hono/http-exception';
import { Overloaded } from '../db/batch.ts';
import { PROBLEMS, ProblemError } from '../errors.ts';
import type { Logger } from '../log.ts';

/** What a problem says of the request that met it. */
interface Occurrence {
  /** The path that was asked for. */
  instance: string;
  requestId: string;
  /** The address of the API, without a slash at the end; the pages of the problems are below it. */
  base: string;
}

/** Turns whatever was thrown into a problem (RFC 9457). What is not ours says "Internal error" and the request id, nothing else. */
export function problemOf(error: unknown, { instance, requestId, base }: Occurrence, log: Logger): Response {
  const problem = known(error);
  if (problem.code === 'internal_error') log.error({ err: error, request_id: requestId }, 'unexpected error');
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
    ...(problem.policies ? { 'violated-policies': problem.policies } : {}),
  };
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      'Content-Type': 'application/problem+json',
      'Cache-Control': 'no-store',
      'X-Request-Id': requestId,
      ...problem.headers,
    },
  });
}

function known(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error;
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

/** The last four: no name, no name server, no descriptors left. */
const SOCKET_ERRORS = /^E(CONN[A-Z]+|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NOTFOUND|AI_AGAIN|MFILE|NFILE)$/;

/** SQLSTATE classes 08 (connection), 25 (read-only), 53 (resources), 57 (shut down, cancelled), and errors of the socket or the pool. */
function isDatabaseAway(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (/^(08|25|53|57)/.test(String(code)) || SOCKET_ERRORS.test(String(code))) return true;
  return /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client has encountered a connection error)/.test(
    String(message),
  );
}

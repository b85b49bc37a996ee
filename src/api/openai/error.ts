import * as v from 'valibot';
import { PROBLEMS, type ProblemCode, ProblemError } from '../../errors.ts';
import { named } from '../../tasks/named.ts';

/** Whether a path belongs to OpenAI's API, where errors have OpenAI's shape. */
export function isOpenAi(path: string): boolean {
  return path === '/v1' || path.startsWith('/v1/');
}

/** What `type` says, by status. */
const ERROR_TYPES = [
  'invalid_request_error',
  'authentication_error',
  'permission_error',
  'rate_limit_error',
  'server_error',
] as const;

/** An error as OpenAI's clients read it. */
export const openAiError = named(
  'OpenAIError',
  v.strictObject({
    error: v.strictObject({
      message: v.string(),
      type: v.picklist(ERROR_TYPES),
      param: v.pipe(v.nullable(v.string()), v.description('The field that is wrong, such as `messages[0].role`.')),
      code: v.pipe(v.nullable(v.string()), v.description('A word for programs, which stays the same.')),
    }),
  }),
);

export type OpenAiErrorBody = v.InferOutput<typeof openAiError>;

/** An error that is said here alone, in words that OpenAI's clients know. */
export class OpenAiError extends Error {
  override readonly name = 'OpenAiError';
  readonly status: number;
  readonly code: string;
  readonly param: string | null;
  readonly headers: Record<string, string>;

  constructor(
    status: number,
    code: string,
    message: string,
    more: { param?: string; headers?: Record<string, string> } = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = more.param ?? null;
    this.headers = more.headers ?? {};
  }
}

/** Codes for which OpenAI has words of its own, which its clients and what is built on them look for. */
const CODES: Partial<Record<ProblemCode, string>> = {
  unauthorized: 'invalid_api_key',
  invalid_token: 'invalid_api_key',
  'quota-exceeded': 'rate_limit_exceeded',
};

/** The official clients send again what was answered with 409, also where it stays so. */
const NO_RETRY = { 'x-should-retry': 'false' };
/** The conflicts that pass by themselves. */
const PASSING = new Set<ProblemCode>(['idempotency_key_in_use']);

/** The status that a problem has here: OpenAI knows no 422. */
export function statusOf(code: ProblemCode): number {
  const { status } = PROBLEMS[code];
  return status === 422 ? 400 : status;
}

/** A problem, or an error of this door, as its status, body and headers. */
export function describeError(error: ProblemError | OpenAiError): {
  status: number;
  body: OpenAiErrorBody;
  headers: Record<string, string>;
} {
  if (error instanceof OpenAiError) {
    const { status, message, param, code, headers } = error;
    const more = status === 409 ? NO_RETRY : {};
    return {
      status,
      body: { error: { message, type: typeOf(status), param, code } },
      headers: { ...more, ...headers },
    };
  }
  const status = statusOf(error.code);
  const [first] = error.errors ?? [];
  const details = (error.errors ?? []).map(({ pointer, detail }) => `${nameOf(pointer)} ${detail}`);
  return {
    status,
    body: {
      error: {
        message: [error.message, ...details.map((detail) => `${detail.trim()}.`)].join(' '),
        type: typeOf(status),
        param: first ? nameOf(first.pointer) || null : null,
        code: CODES[error.code] ?? error.code,
      },
    },
    headers: { ...(status === 409 && !PASSING.has(error.code) ? NO_RETRY : {}), ...error.headers },
  };
}

/** An error of this status as the reference shows it. */
export function errorExample(status: number): OpenAiErrorBody {
  const [code] = (Object.keys(PROBLEMS) as ProblemCode[]).filter((one) => statusOf(one) === status);
  const example = code ? new ProblemError(code, PROBLEMS[code].help) : new OpenAiError(status, 'timeout', 'Too late.');
  return describeError(example).body;
}

function typeOf(status: number): OpenAiErrorBody['error']['type'] {
  if (status >= 500) return 'server_error';
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  return status === 429 ? 'rate_limit_error' : 'invalid_request_error';
}

/** `#/messages/0/role` as OpenAI writes it: `messages[0].role`. */
function nameOf(pointer: string): string {
  const steps = pointer
    .slice(1)
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  return steps.reduce((name, step) => (/^\d+$/.test(step) ? `${name}[${step}]` : name ? `${name}.${step}` : step), '');
}

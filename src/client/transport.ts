import { type Auth, type Credentials, createAuth, type TokenAnswer } from './auth.ts';
import { type FieldError, SutazaiError } from './errors.ts';
import { orStop, repetitionMs, retryAfterOf, sleep } from './time.ts';

export interface SutazaiOptions extends Credentials {
  /** Where the API is, such as `http://127.0.0.1:3000`. */
  baseUrl: string;
  /** Stands in for the `fetch` of the platform. */
  fetch?: typeof fetch;
  /** How long one request may take, in milliseconds; one that waits for a task has this on top. 30,000 where it is not said. */
  timeoutMs?: number;
  /** How often a request that came to nothing is sent again; 5 where it is not said. */
  maxRetries?: number;
}

/** What every call takes. */
export interface CallOptions {
  /** Gives the call up; the server finishes what it has begun. */
  signal?: AbortSignal;
  timeoutMs?: number;
}

export type Query = Record<string, string | number | boolean | Date | readonly string[] | undefined>;

export interface Call extends CallOptions {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  query?: Query;
  body?: unknown;
  /** Sent in the place of a body. */
  form?: FormData;
  headers?: Record<string, string>;
  /** Whether it makes something, so that it is sent with an Idempotency-Key: one for the call, kept over all repetitions. */
  creates?: boolean;
  /** The key to take for that, in the place of a random one. */
  idempotencyKey?: string;
  /** That a second one would do it twice, without a key to prevent that: sent again only after 429 and 503, by which the API refused it for now. */
  once?: boolean;
}

export interface Reply<T> {
  status: number;
  headers: Headers;
  body: T;
}

export interface Transport {
  /** Sends a request, again where that may help, and reads the JSON of its answer. @throws SutazaiError */
  send<T>(call: Call): Promise<Reply<T>>;
  /** Sends a GET once and answers the open body. @throws SutazaiError; `network_error` or `request_timeout` where there is no answer */
  open(call: Call): Promise<Response>;
  maxRetries: number;
}

const USUAL_TIMEOUT_MS = 30_000;
const USUAL_RETRIES = 5;
/** Who is told to come back later than this gets the error at once. */
const MOST_PATIENCE_MS = 60_000;
const COME_AGAIN = [408, 429, 502, 503, 504];
/** Of these alone it is certain that nothing was done: what is between here and the API answers the others for it. */
const REFUSED_FOR_NOW = [429, 503];

/** Makes what all calls go through. */
export function createTransport(options: SutazaiOptions): Transport {
  const base = baseOf(options.baseUrl);
  const maxRetries = options.maxRetries ?? USUAL_RETRIES;
  const fetcher: typeof fetch = options.fetch ?? ((input, init) => fetch(input, init));
  const auth: Auth = createAuth(options, async (path, body) => {
    const reply = await attempts<TokenAnswer>({ method: 'POST', path, body }, async () => undefined);
    return reply.body;
  });

  /** One request and its answer, whatever that is. @throws SutazaiError where there is none */
  async function once(call: Call, authorization: string | undefined, signal: AbortSignal): Promise<Response> {
    const headers = new Headers({ accept: 'application/json', ...call.headers });
    if (call.body !== undefined) headers.set('content-type', 'application/json');
    if (authorization) headers.set('authorization', authorization);
    const body = call.form ?? (call.body === undefined ? undefined : JSON.stringify(call.body));
    try {
      return await fetcher(base + call.path + queryOf(call.query), { method: call.method, headers, body, signal });
    } catch (error) {
      throw noAnswer(error, call, signal);
    }
  }

  /** Sends it until there is an answer that another attempt would not better. */
  async function attempts<T>(call: Call, authorize: () => Promise<string | undefined>): Promise<Reply<T>> {
    const key: Record<string, string> = call.creates
      ? { 'idempotency-key': call.idempotencyKey ?? crypto.randomUUID() }
      : {};
    const given = { ...call, headers: { ...call.headers, ...key } };
    let lost = false;
    let renewed = false;
    for (let repetition = 0; ; repetition++) {
      // Which may be a request of its own, of all calls together, and so knows no signal.
      const authorization = await orStop(authorize(), call.signal);
      let failure: SutazaiError;
      try {
        const reply = await answerOf<T>(given, authorization);
        if (!(reply instanceof SutazaiError)) return reply;
        // What a lost request has taken away is gone, as was asked.
        if (call.method === 'DELETE' && lost && reply.status === 404)
          return { status: 204, headers: new Headers(), body: undefined as T };
        failure = reply;
      } catch (error) {
        if (call.signal?.aborted || call.once || !(error instanceof SutazaiError)) throw error;
        failure = error;
        lost = true;
      }
      if (failure.status === 401 && !renewed && authorization && (await auth.renew(authorization))) {
        renewed = true;
        continue;
      }
      const wait = failure.retryAfterMs ?? 0;
      const helps = call.once ? REFUSED_FOR_NOW.includes(failure.status) : mayHelp(failure);
      if (repetition >= maxRetries || !helps || wait > MOST_PATIENCE_MS) throw failure;
      await sleep(repetitionMs(repetition, wait), call.signal);
    }
  }

  /** The answer, or the problem that it is. @throws SutazaiError where none came, or half of one */
  async function answerOf<T>(call: Call, authorization: string | undefined): Promise<Reply<T> | SutazaiError> {
    const timeout = AbortSignal.timeout(call.timeoutMs ?? options.timeoutMs ?? USUAL_TIMEOUT_MS);
    const signal = call.signal ? AbortSignal.any([call.signal, timeout]) : timeout;
    const response = await once(call, authorization, signal);
    let text: string;
    try {
      text = await response.text();
    } catch (error) {
      throw noAnswer(error, call, signal);
    }
    if (!response.ok && response.status !== 304) return problemOf(response, text);
    return { status: response.status, headers: response.headers, body: parse<T>(response, text) };
  }

  return {
    maxRetries,
    send: (call) => attempts(call, auth.header),
    async open(call) {
      for (let renewed = false; ; renewed = true) {
        const authorization = await auth.header();
        // Until it answers; the body may take as long as it likes.
        const late = new AbortController();
        const timer = setTimeout(() => late.abort(), call.timeoutMs ?? options.timeoutMs ?? USUAL_TIMEOUT_MS);
        const signal = call.signal ? AbortSignal.any([call.signal, late.signal]) : late.signal;
        const response = await once(call, authorization, signal).finally(() => clearTimeout(timer));
        if (response.ok) return response;
        const problem = problemOf(response, await response.text().catch(() => ''));
        const again = response.status === 401 && !renewed && authorization && (await auth.renew(authorization));
        if (!again) throw problem;
      }
    },
  };
}

/** Whether the same request may get another answer. */
export function mayHelp({ code, status }: SutazaiError): boolean {
  return (
    code === 'network_error' ||
    code === 'request_timeout' ||
    code === 'idempotency_key_in_use' ||
    COME_AGAIN.includes(status)
  );
}

function noAnswer(error: unknown, { method, path, signal: given }: Call, signal: AbortSignal): unknown {
  // Whoever gave the call up gets what they gave it up with.
  if (given?.aborted) return given.reason;
  if (signal.aborted)
    return new SutazaiError('request_timeout', `${method} ${path} had no answer in time.`, { cause: error });
  return new SutazaiError('network_error', `${method} ${path} had no answer: ${reasonOf(error)}`, { cause: error });
}

/** What `fetch` throws says "fetch failed" in Node, and its cause says why. */
export function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: unknown; message?: string };
  if (cause instanceof Error) return reasonOf(cause);
  const first = (error as { errors?: unknown[] }).errors?.[0];
  return first ? reasonOf(first) : message || String(error);
}

interface Problem {
  code?: string;
  title?: string;
  detail?: string;
  errors?: FieldError[];
  request_id?: string;
}

function problemOf(response: Response, text: string): SutazaiError {
  let problem: Problem = {};
  try {
    problem = JSON.parse(text) as Problem;
  } catch {
    // It comes from something on the way, which does not know our shape.
  }
  const { status, headers } = response;
  return new SutazaiError(
    problem.code ?? 'bad_answer',
    problem.detail ?? problem.title ?? `The answer was ${status}.`,
    {
      status,
      errors: problem.errors,
      requestId: problem.request_id ?? headers.get('x-request-id') ?? undefined,
      retryAfterMs: retryAfterOf(headers),
    },
  );
}

function parse<T>({ status, headers }: Response, text: string): T {
  if (text === '') return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    const detail = `The answer is ${headers.get('content-type') ?? 'of no type'} and not JSON. Is baseUrl that of the API?`;
    throw new SutazaiError('bad_answer', detail, { status, cause });
  }
}

function baseOf(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new SutazaiError(
      'bad_request',
      `baseUrl wants an address such as http://127.0.0.1:3000, not ${JSON.stringify(url)}.`,
    );
  return url.replace(/\/+$/, '');
}

function queryOf(query: Query = {}): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    given.set(
      name,
      value instanceof Date ? value.toISOString() : Array.isArray(value) ? value.join(',') : String(value),
    );
  }
  return given.size > 0 ? `?${given}` : '';
}

import type { Outbound, OutboundAnswer, OutboundCall } from '../../../clients/outbound.ts';
import { answerError, callError, isSuccess } from '../../../clients/outcomes.ts';
import { wasNotTaken } from '../../../clients/upstream.ts';
import { TaskError } from '../../../errors.ts';
import type { Attempt } from '../../attempt.ts';

/** So much is read of an answer that is only an error. */
const MAX_ERROR_BYTES = 4_000;
/** A secret that is shorter stands in any text. */
const MIN_SECRET_CHARACTERS = 6;

/** One call of an agent. */
export interface AgentRequest {
  method: string;
  url: string;
  /** In lower case. */
  headers: Record<string, string>;
  body?: string;
  /** The same for every attempt. */
  key: string;
  timeoutMs: number;
  /** Ends with the attempt, or before it. */
  signal: AbortSignal;
  maxBytes: number;
  /** Whether it may be sent once more where nobody knows what became of it. */
  repeatable: boolean;
  /** What must not come back in answers and errors. */
  secrets: string[];
  listener?: OutboundCall['listener'];
}

/** Calls an agent for one attempt. @throws TaskError for whatever is no success; `outage` says whether the agent is to blame */
export type Send = (request: AgentRequest) => Promise<OutboundAnswer>;

/** Makes it. */
export function createSend({ task }: Attempt, outbound: Outbound): Send {
  async function call(request: AgentRequest): Promise<OutboundAnswer> {
    const { method, url, body, headers, key, timeoutMs, signal, maxBytes, listener } = request;
    const late = AbortSignal.timeout(timeoutMs);
    try {
      return await outbound.request(url, {
        method,
        body,
        headers: {
          'user-agent': 'SutazAI/1',
          ...headers,
          'accept-encoding': 'identity',
          'idempotency-key': key,
          'x-request-id': task.request_id ?? task.id,
        },
        signal: AbortSignal.any([signal, late]),
        maxBytes: (status) => (isSuccess(status) ? maxBytes : MAX_ERROR_BYTES),
        listener,
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw late.aborted && error === late.reason ? tooLate(timeoutMs, error) : failedCall(error);
    }
  }

  return async (request) => {
    const hidden = (text: string) => withoutSecrets(text, request.secrets);
    try {
      const answer = await call(request);
      const failure = answerError({ ...answer, body: hidden(answer.body) }, task.attempt);
      if (failure) throw blaming(failure, answer.status);
      checkWhole(answer, request.maxBytes);
      return { ...answer, body: hidden(answer.body) };
    } catch (error) {
      hideIn(error, request.secrets);
      throw error instanceof TaskError && !request.repeatable ? onceOnly(error) : error;
    }
  };
}

function tooLate(timeoutMs: number, cause: unknown): TaskError {
  const message = `The agent did not answer within ${timeoutMs / 1_000} seconds.`;
  return new TaskError('upstream_unavailable', message, { retryable: true, outage: 'away', cause });
}

/** What a refusal of our own guard says is no fault of the agent. */
function failedCall(error: unknown): TaskError {
  if (error instanceof TaskError) return error;
  const failure = callError(error);
  return failure.code === 'egress_refused' ? failure : copy(failure, { outage: 'away' });
}

/** An agent that is too busy, or has an internal error, is left alone after some of them; for what it refuses it is not to blame. */
function blaming(failure: TaskError, status: number): TaskError {
  if (status < 500) return failure;
  return copy(failure, { outage: status === 500 || status === 501 ? 'failing' : 'away' });
}

/** Nobody knows what became of a call that may go out only once. */
export function callLost(): TaskError {
  return new TaskError(
    'agent_call_lost',
    'The agent was asked, and the attempt ended before it answered. It is not asked again, because its configuration does not allow that (`retries`).',
  );
}

/** What of a call that may go out only once is still tried again: what the agent has not taken, or says to have left alone. */
export function onceOnly(error: TaskError): TaskError {
  if (!error.retryable || error.later || wasNotTaken(error.cause)) return error;
  const why = ' It is not asked again, because its configuration does not allow that (`retries`).';
  return copy(error, { retryable: false }, why);
}

function copy(
  { code, message, retryable, retryAfterMs, later, outage, cause }: TaskError,
  more: Partial<Pick<TaskError, 'retryable' | 'outage'>>,
  said = '',
): TaskError {
  return new TaskError(code, message + said, { retryable, retryAfterMs, later, outage, cause, ...more });
}

function checkWhole({ cut, headers, body }: OutboundAnswer, maxBytes: number): void {
  if (cut)
    throw new TaskError('output_too_large', `The agent answered more than ${maxBytes} bytes; it was not read on.`);
  const packing = [headers['content-encoding'] ?? 'identity'].flat().join(', ');
  if (packing !== 'identity' && body !== '')
    throw new TaskError('upstream_protocol', `The answer is packed (${packing}), which the request did not allow.`);
}

/** The text without any secret that the call took along, which some hosts echo: as it is, in JSON, and in addresses. */
export function withoutSecrets(text: string, secrets: string[]): string {
  return secrets
    .filter((secret) => secret.length >= MIN_SECRET_CHARACTERS)
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret), formOf(secret)])
    .reduce((clean, secret) => clean.replaceAll(secret, '***'), text);
}

/** As a query says it. */
function formOf(secret: string): string {
  return new URLSearchParams([['', secret]]).toString().slice(1);
}

/** Takes the secrets out of all texts of a value. */
export function hideWithin<T>(value: T, secrets: string[]): T;
export function hideWithin(value: unknown, secrets: string[]): unknown {
  if (typeof value === 'string') return withoutSecrets(value, secrets);
  if (Array.isArray(value)) return value.map((one) => hideWithin(one, secrets));
  if (value === null || typeof value !== 'object') return value;
  // What is no JSON is refused by whoever keeps it.
  if (![Object.prototype, null].includes(Object.getPrototypeOf(value))) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [withoutSecrets(key, secrets), hideWithin(one, secrets)]),
  );
}

/** Takes the secrets out of what an error says; it stays the same one, so that who has told of it already is not forgotten. */
export function hideIn(error: unknown, secrets: string[]): void {
  if (!(error instanceof TaskError)) return;
  error.message = withoutSecrets(error.message, secrets);
  if (error.stack !== undefined) error.stack = withoutSecrets(error.stack, secrets);
}

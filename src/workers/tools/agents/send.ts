import type { Outbound, OutboundAnswer } from '../../../clients/outbound.ts';
import { answerError, callError } from '../../../clients/outcomes.ts';
import { wasNotTaken } from '../../../clients/upstream.ts';
import { TaskError } from '../../../errors.ts';
import { type Attempt, triesOf } from '../../attempt.ts';
import { type AttemptCall, callOut, checkWhole } from '../call.ts';
import { hideIn, withoutSecrets } from './hide.ts';

/** One call of an agent. */
export interface AgentRequest extends AttemptCall {
  timeoutMs: number;
  /** Whether it may be sent once more where nobody knows what became of it. */
  repeatable: boolean;
  /** What must not come back in answers and errors. */
  secrets: string[];
}

/** Calls an agent for one attempt. @throws TaskError for whatever is no success; `outage` says whether the agent is to blame */
export type Send = (request: AgentRequest) => Promise<OutboundAnswer>;

/** Makes it. */
export function createSend(attempt: Attempt, outbound: Outbound): Send {
  async function call({
    timeoutMs,
    repeatable: _,
    secrets: __,
    signal,
    ...request
  }: AgentRequest): Promise<OutboundAnswer> {
    const late = AbortSignal.timeout(timeoutMs);
    try {
      return await callOut(outbound, attempt, { ...request, signal: AbortSignal.any([signal, late]) });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw late.aborted && error === late.reason ? tooLate(timeoutMs, error) : failedCall(error);
    }
  }

  return async (request) => {
    const hidden = (text: string) => withoutSecrets(text, request.secrets);
    try {
      const answer = await call(request);
      const failure = answerError({ ...answer, body: hidden(answer.body) }, triesOf(attempt.task));
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
  const end = /[.!?]$/.test(error.message) ? '' : '.';
  const why = ' It is not asked again, because its configuration does not allow that (`retries`).';
  return copy(error, { retryable: false }, end + why);
}

function copy(
  { code, message, retryable, retryAfterMs, later, outage, cause }: TaskError,
  more: Partial<Pick<TaskError, 'retryable' | 'outage'>>,
  said = '',
): TaskError {
  return new TaskError(code, message + said, { retryable, retryAfterMs, later, outage, cause, ...more });
}

import type { Outbound, OutboundAnswer } from '../../clients/outbound.ts';
import { answerError, callError } from '../../clients/outcomes.ts';
import type { CallOptions, HttpRequest, Tools } from '../../tasks/tools.ts';
import { type Attempt, triesOf } from '../attempt.ts';
import { callOut, checkWhole, keptHeaders } from './call.ts';

const MAX_HEADERS = 100;

/** URLs of users, called through the guarded client for one attempt. */
export function httpTools(attempt: Attempt, outbound: Outbound, maxOutputBytes: number): Tools['http'] {
  const { task, signal } = attempt;
  async function call(
    request: HttpRequest,
    { signal: own, key, maxBytes }: CallOptions & { key: string; maxBytes: number },
  ): Promise<OutboundAnswer> {
    try {
      const either = own ? AbortSignal.any([signal, own]) : signal;
      return await callOut(outbound, attempt, { ...request, key, maxBytes, signal: either });
    } catch (error) {
      throw callError(error);
    }
  }

  return {
    async request(request, { key = task.id, maxBytes = maxOutputBytes, ...options } = {}) {
      const answer = await call(request, { ...options, key, maxBytes });
      const failure = answerError(answer, triesOf(task));
      if (failure) throw failure;
      checkWhole(answer, maxBytes);
      return { status: answer.status, headers: keptHeaders(answer.headers, MAX_HEADERS), body: answer.body };
    },
  };
}

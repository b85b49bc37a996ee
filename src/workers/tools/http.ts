import type { Outbound, OutboundAnswer } from '../../clients/outbound.ts';
import { answerError, callError, isSuccess } from '../../clients/outcomes.ts';
import { TaskError } from '../../errors.ts';
import type { CallOptions, HttpRequest, Tools } from '../../tasks/tools.ts';
import type { Attempt } from '../attempt.ts';

/** So much is read of an answer that is only an error. */
const MAX_ERROR_BYTES = 4_000;
const MAX_HEADERS = 100;

/** URLs of users, called through the guarded client for one attempt. */
export function httpTools({ task, signal }: Attempt, outbound: Outbound, maxOutputBytes: number): Tools['http'] {
  async function call(
    { method, url, headers, body }: HttpRequest,
    { signal: own, key, maxBytes }: CallOptions & { key: string; maxBytes: number },
  ): Promise<OutboundAnswer> {
    try {
      return await outbound.request(url, {
        method,
        body,
        headers: {
          'user-agent': 'SutazAI/1',
          // In one spelling, so that nothing is said twice and nothing of ours is replaced.
          ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
          'accept-encoding': 'identity',
          'idempotency-key': key,
          'x-request-id': task.request_id ?? task.id,
        },
        signal: own ? AbortSignal.any([signal, own]) : signal,
        maxBytes: (status) => (isSuccess(status) ? maxBytes : MAX_ERROR_BYTES),
      });
    } catch (error) {
      throw callError(error);
    }
  }

  return {
    async request(request, { key = task.id, maxBytes = maxOutputBytes, ...options } = {}) {
      const answer = await call(request, { ...options, key, maxBytes });
      const failure = answerError(answer, task.attempt);
      if (failure) throw failure;
      if (answer.cut)
        throw new TaskError('output_too_large', `The answer has more than ${maxBytes} bytes; it was not read on.`);
      const packing = [answer.headers['content-encoding'] ?? 'identity'].flat().join(', ');
      // Unpacking what was not asked for would mean another cap, for what it becomes.
      if (packing !== 'identity' && answer.body !== '')
        throw new TaskError('upstream_protocol', `The answer is packed (${packing}), which the request did not allow.`);
      return { status: answer.status, headers: keptHeaders(answer.headers), body: answer.body };
    },
  };
}

/** The headers as one text each. Cookies are left out: they are secrets of whoever logged in. */
function keptHeaders(given: OutboundAnswer['headers']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(given)
      .filter(([name]) => name !== 'set-cookie')
      .slice(0, MAX_HEADERS)
      .map(([name, value]) => [name, [value ?? ''].flat().join(', ')]),
  );
}

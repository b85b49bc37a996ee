import type { Outbound, OutboundAnswer, OutboundCall } from '../../clients/outbound.ts';
import { isSuccess } from '../../clients/outcomes.ts';
import { TaskError } from '../../errors.ts';
import type { Attempt } from '../attempt.ts';

/** So much is read of an answer that is only an error. */
const MAX_ERROR_BYTES = 4_000;

/** A call of a URL that a user gave, as an attempt makes it. */
export interface AttemptCall extends Pick<OutboundCall, 'method' | 'body' | 'signal' | 'listener'> {
  url: string;
  headers: Record<string, string>;
  /** The same for every attempt. */
  key: string;
  /** Of an answer that is no error. */
  maxBytes: number;
}

/** Makes it through the guard, with the headers that go with every one. */
export function callOut(
  outbound: Outbound,
  { task }: Pick<Attempt, 'task'>,
  { url, headers, key, maxBytes, ...call }: AttemptCall,
): Promise<OutboundAnswer> {
  return outbound.request(url, {
    ...call,
    headers: {
      'user-agent': 'SutazAI/1',
      // In one spelling, so that nothing is said twice and nothing of ours is replaced.
      ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
      'accept-encoding': 'identity',
      'idempotency-key': key,
      'x-request-id': task.request_id ?? task.id,
    },
    maxBytes: (status) => (isSuccess(status) ? maxBytes : MAX_ERROR_BYTES),
  });
}

/** @throws TaskError where the answer was cut, or is packed: unpacking what was not asked for would mean another cap */
export function checkWhole({ cut, headers, body }: OutboundAnswer, maxBytes: number): void {
  if (cut) throw new TaskError('output_too_large', `The answer has more than ${maxBytes} bytes; it was not read on.`);
  const packing = [headers['content-encoding'] ?? 'identity'].flat().join(', ');
  if (packing !== 'identity' && body !== '')
    throw new TaskError('upstream_protocol', `The answer is packed (${packing}), which the request did not allow.`);
}

/** The headers as one text each. Cookies are left out: they are secrets of whoever logged in. */
export function keptHeaders(given: OutboundAnswer['headers'], most = Number.POSITIVE_INFINITY): Record<string, string> {
  return Object.fromEntries(
    Object.entries(given)
      .filter(([name]) => name !== 'set-cookie')
      .slice(0, most)
      .map(([name, value]) => [name, [value ?? ''].flat().join(', ')]),
  );
}

import * as v from 'valibot';
import { defineTask } from './define.ts';
import { decodeBody, encodeBody } from './http-body.ts';
import { jsonObject, maxCharacters, record, strictObject } from './schemas.ts';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;
const MAX_HEADERS = 50;

/** Headers that belong to the connection, or that the queue says itself. */
const RESERVED = new Set([
  ...['accept-encoding', 'connection', 'content-length', 'expect', 'host', 'http2-settings', 'idempotency-key'],
  ...['keep-alive', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'],
  'x-request-id',
]);

export const headerName = v.pipe(
  v.string(),
  v.regex(/^[\w!#$%&'*+.^`|~-]{1,200}$/, 'must be the name of a header'),
  v.check((name) => !RESERVED.has(name.toLowerCase()), 'is a header that cannot be set'),
);
const headerValue = v.pipe(
  v.string(),
  v.maxLength(8_192, 'must be at most 8192 characters'),
  v.regex(/^[\t\x20-\x7e]*$/, 'must be one line of printable ASCII'),
);

export const httpRequest = defineTask({
  name: 'http.request',
  title: 'Call a URL',
  summary: 'Calls an HTTP address of your own; every attempt sends the same Idempotency-Key.',
  lane: 'agent',
  input: v.pipe(
    strictObject({
      method: v.picklist(METHODS, `must be one of ${METHODS.join(', ')}`),
      url: v.pipe(v.string(), maxCharacters(2048)),
      headers: v.optional(
        v.pipe(
          jsonObject,
          record(headerName, headerValue),
          v.check((given) => Object.keys(given).length <= MAX_HEADERS, `must be at most ${MAX_HEADERS}`),
          v.check((given) => new Set(lower(given)).size === lower(given).length, 'must not name a header twice'),
        ),
      ),
      body: v.optional(v.unknown()),
    }),
    v.forward(
      v.check(({ method, body }) => body === undefined || !/^(GET|HEAD)$/.test(method), 'cannot go with GET or HEAD'),
      ['body'],
    ),
  ),
  output: v.strictObject({
    status: v.number(),
    headers: record(v.string(), v.string()),
    body: v.unknown(),
    body_format: v.picklist(['json', 'text', 'none']),
  }),
  urls: ['url'],
  defaults: { attempts: 5, timeoutSeconds: 120, backoff: { minMs: 1_000, maxMs: 300_000 } },
  examples: [{ method: 'GET', url: 'https://example.com/' }],
  async run({ method, url, headers = {}, body }, tools) {
    const answer = await tools.http.request({ method, url, ...encodeBody(headers, body) });
    return { ...answer, ...decodeBody(answer.body, answer.headers['content-type']) };
  },
});

function lower(headers: Record<string, string>): string[] {
  return Object.keys(headers).map((name) => name.toLowerCase());
}

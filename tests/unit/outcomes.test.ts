import { errors } from 'undici';
import { describe, expect, it } from 'vitest';
import { EgressRefused } from '../../src/clients/outbound.ts';
import { answerError, callError } from '../../src/clients/outcomes.ts';
import { retryAfterMs } from '../../src/clients/retry-after.ts';

const judge = (status: number, { attempt = 1, headers = {}, body = '' } = {}) =>
  answerError({ status, headers, body, cut: false }, attempt);

describe('an answer of a URL', () => {
  it.each([200, 201, 204, 206, 299])('%d is a success', (status) => {
    expect(judge(status)).toBeUndefined();
  });

  it.each([300, 301, 302, 303, 304, 307, 308])('%d is a redirect, which is not followed: failed for good', (status) => {
    const error = judge(status, { headers: { location: 'http://169.254.169.254/latest' } });
    expect(error).toMatchObject({ code: 'upstream_rejected', retryable: false, later: false });
    expect(error?.message).toContain('points to http://169.254.169.254/latest. Redirects are not followed');
  });

  it.each([400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 451])('%d is failed for good', (status) => {
    expect(judge(status)).toMatchObject({ code: 'upstream_rejected', retryable: false, later: false });
  });

  it.each([408, 425, 500, 501, 502, 504, 599, 999])('%d is tried again and counts', (status) => {
    expect(judge(status)).toMatchObject({ code: 'upstream_unavailable', retryable: true, later: false });
  });

  it.each([
    [429, 'upstream_rate_limited'],
    [503, 'upstream_unavailable'],
  ])('%d waits without counting, but not for ever', (status, code) => {
    for (const attempt of [1, 20])
      expect(judge(status, { attempt })).toMatchObject({ code, retryable: true, later: true });
    for (const attempt of [21, 1_000])
      expect(judge(status, { attempt })).toMatchObject({ retryable: true, later: false });
  });

  it('409 of a later attempt may be about an earlier one with the same key: tried again', () => {
    expect(judge(409, { attempt: 2 })).toMatchObject({ code: 'upstream_unavailable', retryable: true, later: false });
  });

  it.each([429, 503, 500, 408])('%d says when to come back, within an hour', (status) => {
    expect(judge(status, { headers: { 'retry-after': '7' } })?.retryAfterMs).toBe(7_000);
    expect(judge(status, { headers: { 'retry-after': '999999' } })?.retryAfterMs).toBe(3_600_000);
  });

  it.each([undefined, '0', '-5', 'soon', 'Thu, 01 Jan 2015 00:00:00 GMT'])(
    'Retry-After: %s says no time, so that waits grow',
    (said) => {
      expect(judge(429, said === undefined ? {} : { headers: { 'retry-after': said } })?.retryAfterMs).toBeUndefined();
    },
  );

  it('is quoted in the error, a little of it', () => {
    expect(judge(400, { body: ' {"error":"no such field"}\n' })?.message).toBe(
      'The host answered 400: {"error":"no such field"}',
    );
    expect(judge(400)?.message).toBe('The host answered 400.');
    expect(judge(400, { body: 'x'.repeat(9_000) })?.message.length).toBeLessThan(600);
  });
});

describe('a call of a URL that brought no answer', () => {
  const coded = (code: string) => Object.assign(new Error(`${code} 10.0.0.1:80`), { code });

  it.each([
    ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT'],
    ...['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'UND_ERR_SOCKET', 'UND_ERR_BODY_TIMEOUT'],
  ])('for %s is tried again, counts, and names no address', (code) => {
    const error = callError(coded(code));
    expect(error).toMatchObject({ code: 'upstream_unavailable', retryable: true, later: false });
    expect(error.message).toBe(`The host gave no answer (${code}).`);
  });

  it('because it was refused has failed for good, and names the setting', () => {
    expect(callError(new EgressRefused('The URL … EGRESS_ALLOW.'))).toMatchObject({
      code: 'egress_refused',
      message: 'The URL … EGRESS_ALLOW.',
      retryable: false,
    });
  });

  it('because its headers have no end has failed for good', () => {
    expect(callError(new errors.HeadersOverflowError())).toMatchObject({ code: 'upstream_protocol', retryable: false });
  });

  it.each([
    ['an answer that is no HTTP or breaks off', new errors.HTTPParserError('Invalid EOF state')],
    ['an answer that is shorter than it said', new errors.ResponseContentLengthMismatchError()],
    ['a certificate, which may be renewed', coded('CERT_HAS_EXPIRED')],
  ])('because of %s is tried again and counts', (_, error) => {
    expect(callError(error)).toMatchObject({ code: 'upstream_protocol', retryable: true, later: false });
  });
});

describe('Retry-After', () => {
  it.each([
    ['5', 5_000],
    ['0', 0],
    [['3', '9'], 3_000],
    [undefined, 0],
    [null, 0],
    ['', 0],
    ['-5', 0],
    ['soon', 0],
    ['1e3', 0],
    ['99999999999999999999', 60_000],
    ['Wed, 21 Oct 2015 07:28:00 GMT', 0],
    ['Fri, 31 Dec 9999 23:59:59 GMT', 60_000],
  ])('%j is %d ms', (header, ms) => {
    expect(retryAfterMs(header, 60_000)).toBe(ms);
  });

  it('may be a date', () => {
    expect(retryAfterMs(new Date(Date.now() + 20_000).toUTCString(), 60_000)).toBeGreaterThan(18_000);
  });
});

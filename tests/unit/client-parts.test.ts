import { createParser } from 'eventsource-parser';
import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { verifyWebhook } from '../../src/client/index.ts';
import { createEventParser, type ServerEvent } from '../../src/client/sse.ts';

describe('the parser of event streams', () => {
  const line = fc.oneof(
    fc.constantFrom('', 'data', 'data:', ': ping', 'event: output', 'event:', 'id: 7', 'id', 'id: a\0b', 'retry: 10'),
    fc.tuple(fc.constantFrom('data: ', 'data:', 'id:', 'other: '), fc.string({ maxLength: 8 })).map(([a, b]) => a + b),
  );
  const stream = fc
    .array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r', '\n\n')), { maxLength: 30 })
    .map((lines) => `${lines.flat().join('')}\n\n`);

  it('finds what the library finds, however the text is cut into pieces', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(200), { maxLength: 8 }), (text, places) => {
        const expected: Array<Omit<ServerEvent, 'id'>> = [];
        const library = createParser({
          onEvent: ({ event, data }) => expected.push({ event: event ?? 'message', data }),
        });
        library.feed(text);
        const parse = createEventParser();
        const cuts = [0, ...places.map((place) => place % (text.length + 1)).sort((a, b) => a - b), text.length];
        const found = cuts.slice(1).flatMap((end, index) => parse(text.slice(cuts[index], end)));
        expect(found.map(({ event, data }) => ({ event, data }))).toEqual(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  it('remembers the last id, and leaves a mark of byte order and an event without data out', () => {
    const events = createEventParser()('\uFEFFid: 1\ndata: a\n\nevent: x\n\ndata: b\ndata: c\n\nid\ndata: d\n\n');
    expect(events).toEqual([
      { event: 'message', data: 'a', id: '1' },
      { event: 'message', data: 'b\nc', id: '1' },
      { event: 'message', data: 'd', id: '' },
    ]);
  });
});

describe('verifyWebhook', () => {
  const secret = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
  const other = `whsec_${Buffer.alloc(32, 2).toString('base64')}`;
  const body = JSON.stringify({ type: 'task.completed', timestamp: 'now', data: { id: 'ä' } });
  const at = new Date('2030-01-01T12:00:00Z');
  const now = at.getTime();
  const headersOf = (signature: string) => ({
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(now / 1000),
    'webhook-signature': signature,
  });
  const signed = (by = secret) => headersOf(new Webhook(by).sign('msg_1', at, body));

  it('takes what the reference library signs, in each kind of headers and bodies', async () => {
    const upper = Object.fromEntries(Object.entries(signed()).map(([name, value]) => [name.toUpperCase(), [value]]));
    for (const headers of [signed(), new Headers(signed()), upper]) {
      for (const given of [body, new TextEncoder().encode(body)])
        expect(await verifyWebhook(given, headers, secret, { now })).toEqual(JSON.parse(body));
    }
  });

  it('takes one right signature among several, and one right secret of two', async () => {
    const both = headersOf(`v1,AAAA v2,x ${signed(other)['webhook-signature']} ${signed()['webhook-signature']}`);
    await expect(verifyWebhook(body, both, secret, { now })).resolves.toBeTruthy();
    await expect(verifyWebhook(body, signed(), [other, secret], { now })).resolves.toBeTruthy();
  });

  it.each<[string, string, Record<string, string>, string, number]>([
    ['another body', body.replace('completed', 'failed'), signed(), secret, 0],
    ['another id', body, { ...signed(), 'webhook-id': 'msg_2' }, secret, 0],
    ['another time', body, { ...signed(), 'webhook-timestamp': String(now / 1000 + 1) }, secret, 0],
    ['another secret', body, signed(other), secret, 0],
    ['no signature of version 1', body, headersOf(signed()['webhook-signature'].replace('v1,', 'v2,')), secret, 0],
    ['a cut signature', body, headersOf(signed()['webhook-signature'].slice(0, -4)), secret, 0],
    ['what is not base64', body, headersOf('v1,***'), secret, 0],
    ['no headers', body, {}, secret, 0],
    ['a time that is none', body, { ...signed(), 'webhook-timestamp': 'NaN' }, secret, 0],
    ['a clock 301 s ahead', body, signed(), secret, 301_000],
    ['a clock 301 s behind', body, signed(), secret, -301_000],
    ['an empty secret', body, signed(), 'whsec_', 0],
  ])('refuses %s', async (_, given, headers, by, off) => {
    await expect(verifyWebhook(given, headers, by, { now: now + off })).rejects.toMatchObject({
      code: 'webhook_invalid',
    });
  });

  it('takes clocks that are five minutes apart', async () => {
    for (const off of [300_000, -300_000])
      await expect(verifyWebhook(body, signed(), secret, { now: now + off })).resolves.toBeTruthy();
  });
});

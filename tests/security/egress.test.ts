import type { LookupAddress } from 'node:dns';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createOutbound, EgressRefused, type Outbound, type Resolve } from '../../src/clients/outbound.ts';

const PRIVATE = '169.254.169.254';
const LOOPBACK = { address: '127.0.0.1', family: 4 };

describe('outgoing calls', () => {
  let server: Server;
  let port: number;
  let calls: IncomingMessage[] = [];
  let connections = 0;
  let answer: (response: ServerResponse, request: IncomingMessage) => void;
  const opened: Outbound[] = [];
  beforeAll(async () => {
    server = createServer((request, response) => {
      calls.push(request);
      response.setHeader('connection', 'close');
      answer(response, request);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    server.on('connection', () => connections++);
    port = (server.address() as AddressInfo).port;
  });
  afterEach(async () => {
    calls = [];
    connections = 0;
    answer = (response) => response.end('fine');
    for (const outbound of opened.splice(0)) await outbound.close();
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));
  answer = (response) => response.end('fine');

  function create(allow: string[] = ['127.0.0.1'], resolve?: Resolve): Outbound {
    const outbound = createOutbound(allow, resolve);
    opened.push(outbound);
    return outbound;
  }
  const call = { headers: { 'x-a': 'b' }, body: '{}', timeoutMs: 2000, maxBytes: 1000 };
  const post = (outbound: Outbound, host = '127.0.0.1', path = '/', more = {}) =>
    outbound.post(`http://${host}:${port}${path}`, { ...call, ...more });
  /** Names that become what is given here, one entry a look-up. */
  const names = (...answers: string[][]): Resolve => {
    return (_, __, callback) => {
      const addresses = answers.shift() ?? [];
      callback(
        null,
        addresses.map((address): LookupAddress => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
    };
  };

  it('bring the answer back where they are allowed', async () => {
    const { status, headers, body } = await post(create(), '127.0.0.1', '/hook?a=1');
    expect([status, body, headers.connection]).toEqual([200, 'fine', 'close']);
    expect(calls.map(({ method, url, headers: sent }) => [method, url, sent['x-a']])).toEqual([
      ['POST', '/hook?a=1', 'b'],
    ]);
  });

  it.each([
    ['an address', [], '127.0.0.1'],
    ['an address in decimal', [], '2130706433'],
    ['a mapped address', [], '[::ffff:127.0.0.1]'],
    ['localhost', [], 'localhost'],
    ['localhost with a dot', [], 'localhost.'],
    ['an address beside the allowed one', ['127.0.0.2'], '127.0.0.1'],
  ])('S35: do not leave to %s', async (_, allow, host) => {
    await expect(post(create(allow), host)).rejects.toThrow(EgressRefused);
    // What is seen only once there is a connection has knocked already.
    expect([connections, calls]).toEqual([0, []]);
  });

  it.each([
    ['a private address', [[PRIVATE]]],
    ['loopback', [['127.0.0.1']]],
    ['a private IPv6 address', [['fd00::1']]],
    ['an address mapped into IPv6', [['::ffff:127.0.0.1']]],
    ['public addresses and a private one', [['8.8.8.8', '1.1.1.1', '9.9.9.9', PRIVATE]]],
    ['a public IPv4 and a private IPv6 address', [['8.8.8.8', 'fd00::1']]],
    ['nothing', [[]]],
    ['what is no address', [['nonsense']]],
  ])('S36: do not leave to a name that becomes %s', async (_, answers) => {
    await expect(post(create([], names(...answers)), 'hook.example.com')).rejects.toThrow('EGRESS_ALLOW');
    expect(calls).toEqual([]);
  });

  it('S36: ask for the name again for each connection, and trust no earlier answer', async () => {
    const outbound = create(['127.0.0.1'], names(['127.0.0.1'], [PRIVATE], ['127.0.0.1']));
    expect((await post(outbound, 'rebind.example.com')).status).toBe(200);
    await expect(post(outbound, 'rebind.example.com')).rejects.toThrow(EgressRefused);
    expect((await post(outbound, 'rebind.example.com')).status).toBe(200);
    expect(calls).toHaveLength(2);
  });

  it('S36: connect to one of the addresses that were checked', async () => {
    let lookups = 0;
    const resolve: Resolve = (_, __, callback) =>
      callback(null, [lookups++ === 0 ? LOOPBACK : { address: PRIVATE, family: 4 }]);
    expect((await post(create(['127.0.0.1'], resolve), 'once.example.com')).status).toBe(200);
    expect(lookups).toBe(1);
  });

  it('reach a private address by a name that is allowed, and not by another one', async () => {
    const resolve: Resolve = (_, __, callback) => callback(null, [LOOPBACK]);
    const outbound = create(['hooks.internal'], resolve);
    expect((await post(outbound, 'HOOKS.internal')).status).toBe(200);
    await expect(post(outbound, 'other.internal')).rejects.toThrow(EgressRefused);
  });

  it('say when a name cannot be found', async () => {
    const resolve: Resolve = (_, __, callback) =>
      callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), []);
    await expect(post(create([], resolve), 'nowhere.example.com')).rejects.toMatchObject({ code: 'ENOTFOUND' });
  });

  it.each([301, 302, 303, 307, 308])('S37: do not follow a redirect with %d', async (status) => {
    answer = (response) => response.writeHead(status, { location: '/elsewhere' }).end('gone');
    const { status: given, headers, body } = await post(create());
    expect([given, headers.location, body]).toEqual([status, '/elsewhere', 'gone']);
    expect(calls.map(({ url }) => url)).toEqual(['/']);
  });

  it('S38: do not go through a proxy of the environment', async () => {
    let proxied = 0;
    const proxy = createServer((_, response) => {
      proxied++;
      response.end();
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    for (const name of ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'NODE_USE_ENV_PROXY'])
      vi.stubEnv(name, name.endsWith('ENV_PROXY') ? '1' : url);
    expect((await post(create())).body).toBe('fine');
    vi.unstubAllEnvs();
    expect(proxied).toBe(0);
    await new Promise((resolve) => proxy.close(resolve));
  });

  it.each(['a\r\nx-evil: 1', 'a\nb', 'a\0b'])('S40: refuse the header value %j', async (value) => {
    await expect(post(create(), '127.0.0.1', '/', { headers: { 'x-a': value } })).rejects.toThrow();
    expect(calls).toEqual([]);
  });

  it('S40: cannot be made to write a second request by the URL', async () => {
    await post(create(), '127.0.0.1', '/a HTTP/1.1\r\nx-evil: 1\r\n\r\nGET /b');
    expect(calls).toHaveLength(1);
    expect(calls[0]?.headers['x-evil']).toBeUndefined();
    expect(calls[0]?.url).not.toContain('\n');
  });

  it('S40: read no more of the answer than the cap, and hang up', async () => {
    let closed: Promise<boolean> | undefined;
    answer = (response) => {
      closed = new Promise((resolve) => response.once('close', () => resolve(response.writableFinished)));
      const more = () => {
        while (!response.destroyed && response.write('x'.repeat(10_000)));
      };
      response.on('drain', more);
      more();
    };
    expect((await post(create())).body).toBe('x'.repeat(1000));
    expect(await closed).toBe(false);
  });

  it('S40: do not unpack what is small only as long as it is packed', async () => {
    const packed = gzipSync('x'.repeat(1_000_000));
    answer = (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(packed);
    const { body } = await post(create(), '127.0.0.1', '/', { maxBytes: 10_000 });
    expect(body.length).toBeLessThanOrEqual(packed.length);
  });

  it('S40: refuse an answer whose headers are too large', async () => {
    answer = (response) => response.writeHead(200, { 'x-long': 'x'.repeat(40_000) }).end();
    await expect(post(create())).rejects.toThrow();
  });

  it.each([
    ['never answers', () => {}],
    [
      'answers and then goes on for ever',
      (response: ServerResponse) => {
        response.write('.');
        const timer = setInterval(() => response.write('.'), 20);
        response.once('close', () => clearInterval(timer));
      },
    ],
  ])('give up on a host that %s, when the time is over', async (_, behave) => {
    let closed: Promise<void> | undefined;
    answer = (response) => {
      closed = new Promise((resolve) => response.once('close', () => resolve()));
      behave(response);
    };
    await expect(post(create(), '127.0.0.1', '/', { timeoutMs: 200 })).rejects.toMatchObject({ name: 'TimeoutError' });
    await closed;
  });
});

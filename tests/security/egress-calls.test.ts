import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import {
  createOutbound,
  EgressRefused,
  type Outbound,
  type OutboundCall,
  type Resolve,
} from '../../src/clients/outbound.ts';
import { until } from '../support/until.ts';

const opened: Array<() => unknown> = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  opened.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

/** A server of HTTP that answers as it is told. */
const http = (answer: (response: ServerResponse, request: IncomingMessage) => void) =>
  listen(createHttpServer((request, response) => answer(response, request)));

/** A server that does what it is told with each connection. */
const raw = (behave: (socket: Socket) => void) =>
  listen(
    createServer((socket) => {
      socket.on('error', () => {});
      behave(socket);
    }),
  );

function create(resolve?: Resolve): Outbound {
  const outbound = createOutbound(['127.0.0.1'], resolve);
  opened.push(() => outbound.close());
  return outbound;
}

const call = (more: Partial<OutboundCall> = {}): OutboundCall => ({
  method: 'GET',
  headers: {},
  signal: AbortSignal.timeout(5_000),
  maxBytes: () => 1_000,
  ...more,
});

describe('a call', () => {
  it.each(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])('is made with %s', async (method) => {
    const port = await http((response, request) =>
      response.setHeader('x-method', request.method ?? '').end(method === 'HEAD' ? undefined : 'fine'),
    );
    const answer = await create().request(`http://127.0.0.1:${port}/`, call({ method }));
    expect(answer).toMatchObject({ status: 200, headers: { 'x-method': method }, cut: false });
    expect(answer.body).toBe(method === 'HEAD' ? '' : 'fine');
  });

  it('offers no HTTP/2, whose headers have no cap and whose connections stay', async () => {
    let hello = '';
    const port = await raw((socket) =>
      socket.once('data', (data) => {
        hello = data.toString('latin1');
        socket.destroy();
      }),
    );
    await expect(create().request(`https://127.0.0.1:${port}/`, call())).rejects.toThrow();
    expect(hello).toContain('\x08http/1.1');
    expect(hello).not.toContain('\x02h2');
  });

  it('leaves no connection behind', async () => {
    const closed: Array<Promise<unknown>> = [];
    const port = await http((response, request) => {
      closed.push(new Promise((resolve) => request.socket.once('close', resolve)));
      response.setHeader('connection', 'keep-alive').end('fine');
    });
    for (let n = 0; n < 3; n++) await create().request(`http://127.0.0.1:${port}/`, call());
    expect((await Promise.all(closed)).length).toBe(3);
  });

  it('says whether the answer was cut, to the byte, and by its status', async () => {
    const port = await http((response, request) =>
      response.writeHead(request.url === '/bad' ? 400 : 200).end('é'.repeat(500)),
    );
    const ask = (path: string, maxBytes: OutboundCall['maxBytes']) =>
      create().request(`http://127.0.0.1:${port}${path}`, call({ maxBytes }));
    expect(await ask('/', () => 1_000)).toMatchObject({ cut: false, body: 'é'.repeat(500) });
    expect(await ask('/', () => 999)).toMatchObject({ cut: true, body: 'é'.repeat(499) });
    const byStatus = (status: number) => (status === 400 ? 4 : 1_000);
    expect(await ask('/bad', byStatus)).toMatchObject({ status: 400, cut: true, body: 'éé' });
    expect(await ask('/', byStatus)).toMatchObject({ status: 200, cut: false });
  });

  it('brings a long body together that comes in pieces, and cuts between them', async () => {
    const text = Array.from({ length: 20_000 }, (_, n) => `${n}€`).join('');
    const port = await raw((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
        const bytes = Buffer.from(text);
        // Pieces of a prime length: characters and buffers are split everywhere.
        for (let at = 0; at < bytes.length; at += 4_999) {
          const piece = bytes.subarray(at, at + 4_999);
          socket.write(Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')]));
        }
        socket.end('0\r\n\r\n');
      });
    });
    const ask = (max: number) => create().request(`http://127.0.0.1:${port}/`, call({ maxBytes: () => max }));
    expect(await ask(1_000_000)).toMatchObject({ cut: false, body: text });
    const { body, cut } = await ask(100_000);
    expect([cut, text.startsWith(body), Buffer.byteLength(body) > 99_996]).toEqual([true, true, true]);
  });
});

describe('a call that is ended', () => {
  const stopped = new Error('stopped');

  it.each<[string, string, (socket: Socket) => void]>([
    ['while the other side is silent about its certificate', 'https', () => {}],
    ['before the answer', 'http', () => {}],
    ['within the headers', 'http', (socket) => socket.write('HTTP/1.1 200 OK\r\nx-a: b\r\n')],
    ['within the body', 'http', (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc')],
  ])('%s closes its connection', async (_, scheme, behave) => {
    let closed: Promise<unknown> | undefined;
    const port = await raw((socket) => {
      closed = new Promise((resolve) => socket.once('close', resolve));
      socket.once('data', () => behave(socket));
    });
    const controller = new AbortController();
    const calling = create().request(`${scheme}://127.0.0.1:${port}/`, call({ signal: controller.signal }));
    await until('the connection', () => closed !== undefined);
    const aborted = Date.now();
    controller.abort(stopped);
    await expect(calling).rejects.toBe(stopped);
    await closed;
    // Not only when connecting takes too long.
    expect(Date.now() - aborted).toBeLessThan(2_000);
  });

  it('while a name is looked up connects to nobody afterwards', async () => {
    let connections = 0;
    const port = await raw(() => connections++);
    let found: (() => void) | undefined;
    const outbound = create((_, __, callback) => {
      found = () => callback(null, [{ address: '127.0.0.1', family: 4 }]);
    });
    const controller = new AbortController();
    const calling = outbound.request(`http://slow.example.com:${port}/`, call({ signal: controller.signal }));
    await until('the look-up', () => found !== undefined);
    const aborted = Date.now();
    controller.abort(stopped);
    await expect(calling).rejects.toBe(stopped);
    expect(Date.now() - aborted).toBeLessThan(2_000);
    found?.();
    // A call that does connect comes later, so the other one would have been seen.
    await expect(outbound.request('http://127.0.0.2/', call())).rejects.toThrow(EgressRefused);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(connections).toBe(0);
  });

  it('is refused before anything is sent', async () => {
    let connections = 0;
    const port = await raw(() => connections++);
    await expect(
      create().request(`http://127.0.0.1:${port}/`, call({ signal: AbortSignal.abort(stopped) })),
    ).rejects.toBe(stopped);
    expect(connections).toBe(0);
  });
});

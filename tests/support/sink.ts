import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { open } from './open.ts';
import { wholeBody } from './whole-body.ts';

/** A webhook message, or another call, as it came. */
export interface Received {
  method: string | undefined;
  path: string | undefined;
  headers: IncomingHttpHeaders;
  body: string;
  at: number;
}

/** A receiver of webhooks and other calls that answers as it is told. */
export interface Sink {
  url: string;
  received: Received[];
  /** Answers the n-th message, from 0; 204 when not set. */
  answer: ((n: number, response: ServerResponse) => void) | undefined;
  close(): Promise<void>;
}

/** Starts it. */
export async function startSink(): Promise<Sink> {
  const sockets = new Set<Socket>();
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const body = await wholeBody(request);
    if (!body) return;
    const { method, url: path, headers } = request;
    received.push({ method, path, headers, body: body.toString(), at: Date.now() });
    if (sink.answer) sink.answer(received.length - 1, response);
    else response.writeHead(204).end();
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  open.add(url);
  const sink: Sink = {
    url,
    received,
    answer: undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          open.delete(url);
          resolve();
        });
        for (const socket of sockets) socket.destroy();
      }),
  };
  return sink;
}

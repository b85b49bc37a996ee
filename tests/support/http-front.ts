import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { wholeBody } from './whole-body.ts';

/** A request that came to the front. */
export interface FrontCall {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
  /** Whether the client closed the connection before the answer was whole. */
  closedEarly: Promise<boolean>;
}

/** What the server behind answered. */
export interface Behind {
  status: number;
  body: Buffer;
}

/**
 * How one request fares; `forward` has the server behind do it and answers what came of it. Nothing is sent unless the
 * script sends it.
 */
export type FrontScript = (
  call: FrontCall,
  response: ServerResponse,
  forward: () => Promise<Behind>,
) => Promise<void> | void;

/** An HTTP server before a real one, which loses, cuts and makes up answers when told to. */
export interface HttpFront {
  url: string;
  calls: FrontCall[];
  /** Used for each request; without one the front is not noticed. */
  script: FrontScript | undefined;
  close(): Promise<void>;
}

/** Starts it before the server at this URL. */
export async function startHttpFront(target: string): Promise<HttpFront> {
  const server = createServer(async (incoming, response) => {
    const body = await wholeBody(incoming);
    if (!body) return;
    const call: FrontCall = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      headers: incoming.headers,
      body,
      closedEarly: new Promise((resolve) => response.once('close', () => resolve(!response.writableFinished))),
    };
    front.calls.push(call);
    const forward = () => pass(target, incoming, body);
    if (front.script) return front.script(call, response, forward);
    const { status, body: answer } = await forward();
    response.writeHead(status, { 'content-type': 'application/json' }).end(answer);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const front: HttpFront = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: [],
    script: undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return front;
}

function pass(target: string, { method, url, headers }: IncomingMessage, body: Buffer): Promise<Behind> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(target);
    const options = { method, path: url, headers: { ...headers, host: `${hostname}:${port}`, connection: 'close' } };
    request({ ...options, hostname, port }, async (answer) => {
      resolve({ status: answer.statusCode ?? 0, body: await bytesOf(answer) });
    })
      .once('error', reject)
      .end(body);
  });
}

async function bytesOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

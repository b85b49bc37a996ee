import { createWriteStream } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** One effect in the outside world: a call that the agent took. */
export interface Effect {
  /** The `Idempotency-Key` it came under; empty where there was none. */
  key: string;
  /** Unique over all effects; what the agent answers. */
  effect: number;
  at: number;
}

/** What a caller asks of the agent, in the body. */
export interface AgentOrder {
  /** Milliseconds until it answers. */
  sleep_ms?: number;
  /** For the script of a case: how it should behave. */
  way?: string;
}

/** A way to answer one call; answers `true` when it has answered or will. */
export type AgentScript = (order: AgentOrder, response: ServerResponse, key: string) => boolean | Promise<boolean>;

/** An HTTP agent that writes each call into an append-only ledger before it answers. */
export interface FakeAgent {
  url: string;
  ledger: Effect[];
  script: AgentScript | undefined;
  /** Calls that have not been answered yet. */
  busy(): number;
  close(): Promise<void>;
}

/** Starts it. @param file where the ledger is kept */
export async function startFakeAgent(file: string): Promise<FakeAgent> {
  const sockets = new Set<Socket>();
  const book = createWriteStream(file, { flags: 'a' });
  let busy = 0;
  const server = createServer(async (request, response) => {
    const order = (await readJson(request).catch(() => undefined)) as AgentOrder | undefined;
    if (!order) return void response.destroy();
    const key = String(request.headers['idempotency-key'] ?? '');
    const effect = { key, effect: agent.ledger.length + 1, at: Date.now() };
    agent.ledger.push(effect);
    book.write(`${JSON.stringify(effect)}\n`);
    busy++;
    response.once('close', () => busy--);
    if (await agent.script?.(order, response, key)) return;
    setTimeout(() => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ effect: effect.effect }));
    }, order.sleep_ms ?? 0);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const agent: FakeAgent = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/run`,
    ledger: [],
    script: undefined,
    busy: () => busy,
    close: () =>
      new Promise((resolve) => {
        server.close(() => book.end(resolve));
        for (const socket of sockets) socket.destroy();
      }),
  };
  return agent;
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text === '' ? {} : JSON.parse(text);
}

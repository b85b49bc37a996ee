import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { open } from './open.ts';
import { wholeBody } from './whole-body.ts';

export interface Asked {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  body: string;
  at: number;
}

export type Reaction = (answer: ServerResponse, asked: Asked) => void;

/** An HTTP server that does what the test says, request by request; the last reaction stays. */
export interface ScriptedHttp {
  url: string;
  asked: Asked[];
  script(...reactions: Reaction[]): void;
  close(): Promise<void>;
}

export async function startScriptedHttp(): Promise<ScriptedHttp> {
  const asked: Asked[] = [];
  let reactions: Reaction[] = [];
  const server = createServer(async (request, response) => {
    const body = await wholeBody(request);
    if (!body) return;
    const { method = '', url = '', headers } = request;
    const one = { method, url, headers, body: body.toString(), at: Date.now() };
    asked.push(one);
    const reaction = reactions.length > 1 ? reactions.shift() : reactions[0];
    if (reaction) reaction(response, one);
    else response.writeHead(500).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  open.add(url);
  return {
    url,
    asked,
    script(...next) {
      asked.length = 0;
      reactions = next;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      open.delete(url);
    },
  };
}

/** Answers JSON. */
export function json(status: number, body: unknown, headers: Record<string, string> = {}): Reaction {
  return (answer) =>
    answer.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** Answers a problem (RFC 9457). */
export function problem(status: number, code: string, headers: Record<string, string> = {}): Reaction {
  return json(status, { code, detail: `about ${code}`, status, request_id: 'r-12345678' }, headers);
}

/** Breaks the connection off without a word. */
export const hangUp: Reaction = (answer) => answer.destroy();

/** Says nothing. */
export const silence: Reaction = () => {};

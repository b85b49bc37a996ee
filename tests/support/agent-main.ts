import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { wholeBody } from './whole-body.ts';

/** One call as the agent took it. */
export interface AgentTaken {
  key: string;
  path: string;
  input: unknown;
  /** How many calls with this key came before. */
  repeated: number;
}

/** How it behaves from now on: as it should, late, with errors, or with 202 and a call back once it is told. */
export type AgentWay = 'honest' | 'slow' | 'failing' | 'later';

/** What happened so far. */
export interface AgentBook {
  taken: AgentTaken[];
  /** How often it did something: once for each key. */
  effects: number;
}

const SLOW_MS = 400;

// A process of its own: an agent that does a thing once for each Idempotency-Key, and keeps a book of it.
let way = process.argv[2] as AgentWay;
const taken: AgentTaken[] = [];
const done = new Map<string, unknown>();
const addresses: string[] = [];

const slowly = () => new Promise((resolve) => setTimeout(resolve, SLOW_MS));

/** What it does in the world, of which the answer is the number. */
function doOnce(key: string, input: unknown): unknown {
  const known = done.get(key);
  if (known) return known;
  const answer = { effect: done.size + 1, input };
  done.set(key, answer);
  return answer;
}

async function run(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
  const key = String(request.headers['idempotency-key']);
  const body = await wholeBody(request);
  // A worker that was killed while it asked.
  if (!body) return undefined;
  const input: unknown = JSON.parse(body.toString() || 'null');
  taken.push({ key, path: request.url ?? '', input, repeated: taken.filter((one) => one.key === key).length });
  if (way === 'failing') return send(response, 500, { error: 'on purpose' });
  if (way === 'slow') await slowly();
  const answer = doOnce(key, input);
  if (way !== 'later') return send(response, 200, answer);
  addresses.push(String(request.headers['sutazai-callback']));
  return send(response, 202, {});
}

/** Calls back whom it owes an answer; answers the statuses. */
async function callBack(): Promise<number[]> {
  const calls = addresses.map((address, place) =>
    fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ called_back: place + 1 }),
    }),
  );
  return (await Promise.all(calls)).map(({ status }) => status);
}

const server = createServer(async (request, response) => {
  const { method, url = '' } = request;
  if (url === '/health') {
    if (way === 'slow') await slowly();
    return send(response, way === 'failing' ? 503 : 200, {});
  }
  if (url === '/book') return send(response, 200, { taken, effects: done.size } satisfies AgentBook);
  if (url === '/call-back') return send(response, 200, await callBack());
  if (url.startsWith('/way/')) {
    way = url.slice(5) as AgentWay;
    return send(response, 200, {});
  }
  return method === 'POST' ? run(request, response) : send(response, 404, {});
}).listen(0, '127.0.0.1', () => console.log(`listening at ${(server.address() as AddressInfo).port}`));

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

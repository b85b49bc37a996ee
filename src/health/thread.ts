import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

// The thread that answers while the main loop may be blocked. It has no part in the work, so it imports nothing of the house.

/** What the main thread hands in. */
export interface ThreadData {
  host: string;
  port: number;
  /** One number that the main loop counts up as long as it turns. */
  beats: SharedArrayBuffer;
  /** After how long without a beat the main loop counts as stuck. */
  stalledMs: number;
}

export type ToMain = { listening: number } | { failed: string } | { ask: number; path: string };
export type ToThread = { problems: string[] } | { answer: number; status: number; type: string; body: string };

const LOOK_EVERY_MS = 250;
const ASK_TIMEOUT_MS = 5_000;
const SLOW_CLIENT_MS = 5_000;
const MAX_CONNECTIONS = 200;

const { host, port, beats, stalledMs } = workerData as ThreadData;
const main = parentPort as NonNullable<typeof parentPort>;
const count = new Int32Array(beats);
let problems: string[] = [];
let seen = -1;
let beatAt = performance.now();
let lookedAt = beatAt;
let lastAsk = 0;
const asked = new Map<number, (answer: Extract<ToThread, { answer: number }>) => void>();

setInterval(() => {
  const now = performance.now();
  const beat = Atomics.load(count, 0);
  // Where this thread did not run either, the whole process was frozen, and that is not the loop's fault.
  if (beat !== seen || now - lookedAt > LOOK_EVERY_MS * 8) beatAt = now;
  seen = beat;
  lookedAt = now;
}, LOOK_EVERY_MS);

const silentMs = () => Math.round(performance.now() - beatAt);
const isStalled = () => silentMs() > stalledMs;

function reply(response: ServerResponse, status: number, body: string, type = 'application/json'): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(body);
}

function alive(response: ServerResponse): void {
  if (isStalled()) reply(response, 503, JSON.stringify({ status: 'stalled', silent_ms: silentMs() }));
  else if (problems.length > 0) reply(response, 503, JSON.stringify({ status: 'stuck', problems }));
  else reply(response, 200, JSON.stringify({ status: 'ok' }));
}

function askMain(path: string, response: ServerResponse): void {
  const id = ++lastAsk;
  const late = setTimeout(() => {
    asked.delete(id);
    reply(response, 503, JSON.stringify({ status: 'stalled', silent_ms: silentMs() }));
  }, ASK_TIMEOUT_MS);
  asked.set(id, ({ status, type, body }) => {
    clearTimeout(late);
    asked.delete(id);
    reply(response, status, body, type);
  });
  main.postMessage({ ask: id, path } satisfies ToMain);
}

main.on('message', (message: ToThread) => {
  if ('problems' in message) problems = message.problems;
  else asked.get(message.answer)?.(message);
});

const options = {
  headersTimeout: SLOW_CLIENT_MS,
  requestTimeout: SLOW_CLIENT_MS,
  keepAliveTimeout: SLOW_CLIENT_MS,
  connectionsCheckingInterval: SLOW_CLIENT_MS / 5,
};
const server = createServer(options, (request, response) => {
  const path = (request.url ?? '').split('?')[0] as string;
  if (request.method !== 'GET' && request.method !== 'HEAD')
    reply(response, 405, JSON.stringify({ status: 'GET only' }));
  else if (path === '/healthz') alive(response);
  else if (isStalled()) reply(response, 503, JSON.stringify({ status: 'stalled', silent_ms: silentMs() }));
  else askMain(path, response);
});
server.maxConnections = MAX_CONNECTIONS;
server.on('error', (error: NodeJS.ErrnoException) => {
  // Once it listens, an error is one of a single connection, such as no descriptor left for it.
  if (!server.listening) main.postMessage({ failed: error.code ?? error.message } satisfies ToMain);
});
server.listen(port, host, () =>
  main.postMessage({ listening: (server.address() as AddressInfo).port } satisfies ToMain),
);

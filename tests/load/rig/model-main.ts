// The process of `model.ts`: a model host that costs little, so that what is measured is not the host.
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Order, Word } from './model.ts';

const MODEL = 'tinyllama:latest';
const TELL_MS = 10;

const DONE = {
  done: true,
  done_reason: 'stop',
  total_duration: 2e6,
  load_duration: 0,
  prompt_eval_count: 40,
  eval_count: 12,
};
const TEXT = 'The robot found a small door behind the moon, and went in.';
const STREAMED = `${JSON.stringify({ model: MODEL, response: TEXT, done: false })}\n${JSON.stringify({ model: MODEL, response: '', ...DONE })}\n`;
const WHOLE = JSON.stringify({ model: MODEL, response: TEXT, ...DONE });

/** What is asked of it beside texts. */
const ANSWERS: Record<string, object> = {
  '/api/tags': { models: [{ name: MODEL, model: MODEL, digest: 'sha256:1', size: 1, details: { family: 'llama' } }] },
  '/api/ps': { models: [{ name: MODEL, model: MODEL }] },
  '/api/version': { version: '0.99.0' },
  '/api/show': { capabilities: ['completion'], details: {}, model_info: { 'llama.context_length': 4096 } },
};

let delayMs = 0;
let shut = false;
let answered = 0;
let told = 0;
let waiting: Array<() => void> = [];

const say = (word: Word) => process.send?.(word);

function answer(response: ServerResponse, streamed: boolean): void {
  answered++;
  const [type, body] = streamed ? ['application/x-ndjson', STREAMED] : ['application/json', WHOLE];
  response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
}

const server = createServer((request, response) => {
  const path = request.url ?? '';
  let body = '';
  request.on('data', (chunk) => {
    body += chunk;
  });
  request.on('end', () => {
    if (path !== '/api/generate') {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(ANSWERS[path] ?? {}));
      return;
    }
    const now = () => answer(response, body.includes('"stream":true'));
    if (shut) waiting.push(now);
    else if (delayMs > 0) setTimeout(now, delayMs);
    else now();
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => say({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }));

process.on('message', (order: Order) => {
  if ('delayMs' in order) delayMs = order.delayMs;
  else {
    shut = order.shut;
    const all = shut ? [] : waiting;
    if (!shut) waiting = [];
    for (const now of all) now();
  }
  say({ done: true });
});
process.on('disconnect', () => process.exit());

setInterval(() => {
  if (answered === told) return;
  told = answered;
  say({ answered });
}, TELL_MS);

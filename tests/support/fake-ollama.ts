import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { wholeBody } from './whole-body.ts';

/** What the fake was asked. */
export interface OllamaCall {
  path: string;
  headers: IncomingHttpHeaders;
  body: Record<string, unknown>;
  /** Whether the client closed the connection before the answer was whole. */
  closedEarly: Promise<boolean>;
}

/** A way to answer one call; returns `false` to answer as a healthy host does, `true` when it has answered or will. */
export type Script = (call: OllamaCall, response: ServerResponse) => Promise<boolean> | boolean;

/** A scripted Ollama: speaks its protocol over a real socket and misbehaves when told to. */
export interface FakeOllama {
  url: string;
  calls: OllamaCall[];
  models: Array<{ name: string; capabilities: string[]; digest?: string; context_length?: number }>;
  /** Which of them are in memory; all where it is not said. */
  loaded: string[] | undefined;
  /** Used for each call of chat, generate, embed or pull, until it is replaced. */
  script: Script | undefined;
  /** Used before that, for questions such as that for the version too. */
  everything: Script | undefined;
  /** The paths of all calls and questions. */
  asked: string[];
  /** Words that a text may have. What is longer is cut off without a word, as Ollama does, or refused where `truncate` is false. */
  contextWords: number;
  /** Resolves with the next call of this path. */
  nextCall(path: string): Promise<OllamaCall>;
  close(): Promise<void>;
}

const DIMENSIONS = 8;

/** Starts it with a model for text and one for embeddings, on a free port unless one is named. */
export async function startFakeOllama(port = 0): Promise<FakeOllama> {
  const waiters: Array<{ path: string; resolve: (call: OllamaCall) => void }> = [];
  const sockets = new Set<Socket>();
  const fake: FakeOllama = {
    url: '',
    calls: [],
    models: [
      { name: 'tinyllama:latest', capabilities: ['completion'] },
      { name: 'all-minilm:latest', capabilities: ['embedding'] },
    ],
    loaded: undefined,
    script: undefined,
    everything: undefined,
    asked: [],
    contextWords: Number.POSITIVE_INFINITY,
    nextCall: (path) => new Promise((resolve) => waiters.push({ path, resolve })),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };

  const server = createServer(async (request, response) => {
    const path = request.url ?? '';
    const text = await wholeBody(request);
    if (!text) return;
    const body = text.length === 0 ? {} : (JSON.parse(text.toString()) as Record<string, unknown>);
    const call: OllamaCall = {
      ...{ path, headers: request.headers, body },
      closedEarly: new Promise((resolve) => response.once('close', () => resolve(!response.writableFinished))),
    };
    fake.asked.push(path);
    if (await fake.everything?.(call, response)) return;
    if (path === '/api/tags')
      return sendJson(response, 200, {
        models: fake.models.map(({ name, digest = `sha256:${name}` }) => ({
          name,
          model: name,
          digest,
          size: 1000,
          details: { family: 'llama' },
        })),
      });
    if (path === '/api/ps') {
      const names = fake.loaded ?? fake.models.map(({ name }) => name);
      return sendJson(response, 200, { models: names.map((name) => ({ name, model: name })) });
    }
    if (path === '/api/version') return sendJson(response, 200, { version: '0.99.0' });
    if (path === '/api/show') {
      const model = find(fake, body.model);
      return model
        ? sendJson(response, 200, {
            capabilities: model.capabilities,
            details: {},
            model_info: model.context_length ? { 'llama.context_length': model.context_length } : {},
          })
        : notFound(response, body.model);
    }
    if (path === '/api/delete') {
      const model = find(fake, body.name ?? body.model);
      if (!model) return notFound(response, body.name);
      fake.models.splice(fake.models.indexOf(model), 1);
      return void response.writeHead(200).end();
    }
    fake.calls.push(call);
    for (const waiter of waiters.splice(0)) waiter.path === path ? waiter.resolve(call) : waiters.push(waiter);
    if (await fake.script?.(call, response)) return;
    if (!find(fake, body.model) && path !== '/api/pull') return notFound(response, body.model, path);
    if (body.truncate === false && textsOf(body).some((text) => text.split(' ').length > fake.contextWords))
      return sendJson(response, 400, { error: 'the input length exceeds the context length' });
    answer(fake, call, response);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  fake.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return fake;
}

function answer(fake: FakeOllama, { path, body }: OllamaCall, response: ServerResponse): void {
  const words = ['Hello', ' from', ' a', ' scripted', ' host'];
  const done = {
    done: true,
    done_reason: 'stop',
    total_duration: 30e6,
    load_duration: 10e6,
    prompt_eval_count: 7,
    eval_count: words.length,
  };
  switch (path) {
    case '/api/chat':
      sendLines(response, [
        ...words.map((content) => ({ message: { role: 'assistant', content }, done: false })),
        { message: { role: 'assistant', content: '' }, ...done },
      ]);
      break;
    case '/api/generate':
      sendLines(response, [...words.map((text) => ({ response: text, done: false })), { response: '', ...done }]);
      break;
    case '/api/embed':
      sendJson(response, 200, {
        model: body.model,
        embeddings: ([body.input].flat() as string[]).map(embedding),
        total_duration: 5e6,
        load_duration: 1e6,
        prompt_eval_count: 3,
      });
      break;
    case '/api/pull': {
      const name = String(body.name ?? body.model);
      const full = name.includes(':') ? name : `${name}:latest`;
      if (!find(fake, full)) fake.models.push({ name: full, capabilities: ['completion'] });
      sendLines(response, [{ status: 'pulling manifest' }, { status: 'success' }]);
      break;
    }
    default:
      sendJson(response, 404, { error: 'no such path' });
  }
}

/** Texts that share words are near to each other. */
export function embedding(text: string): number[] {
  const vector = new Array<number>(DIMENSIONS).fill(0.01);
  for (const word of text.toLowerCase().match(/\w+/g) ?? []) {
    let hash = 0;
    for (const letter of word) hash = (hash * 31 + letter.charCodeAt(0)) % 9973;
    vector[hash % DIMENSIONS] = (vector[hash % DIMENSIONS] ?? 0) + 1;
  }
  return vector;
}

function find(fake: FakeOllama, name: unknown) {
  return fake.models.find((model) => model.name === name || model.name === `${name}:latest`);
}

/** Sends a whole JSON answer. */
export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
}

/** Sends a whole answer of newline-delimited JSON. */
export function sendLines(response: ServerResponse, lines: unknown[]): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  for (const line of lines) response.write(`${JSON.stringify(line)}\n`);
  response.end();
}

/** The path through the scheduler has a text of its own. */
function notFound(response: ServerResponse, model: unknown, path = ''): void {
  const error =
    path === '/api/embed' ? `model "${model}" not found, try pulling it first` : `model '${model}' not found`;
  sendJson(response, 404, { error });
}

function textsOf({ prompt, messages, input }: Record<string, unknown>): string[] {
  const said = (messages ?? []) as Array<{ content: string }>;
  return [prompt ?? [], said.map(({ content }) => content).join(' '), input ?? []].flat() as string[];
}

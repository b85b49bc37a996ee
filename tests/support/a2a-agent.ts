import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { open } from './open.ts';
import { wholeBody } from './whole-body.ts';

export type Fields = Record<string, unknown>;

/** What the agent was asked. */
export interface A2aCall {
  path: string;
  headers: IncomingHttpHeaders;
  body: Fields;
}

/** A task as the agent has it. */
export interface A2aTask {
  id: string;
  state: string;
  /** What it made, or says of its state. */
  parts: Fields[];
  push: string | undefined;
}

/** An agent that speaks A2A over a real socket: 1.0 by JSON-RPC and HTTP+JSON, 0.3 by JSON-RPC. */
export interface A2aAgent {
  url: string;
  /** Its card; a test may put another one here. */
  card: Fields;
  calls: A2aCall[];
  tasks: A2aTask[];
  /** What it does with a message: a message that ends it, or a task that begins in this state. */
  onMessage: (message: Fields) => { message: Fields[] } | { state: string; parts?: Fields[] };
  /** Resolves once it was asked this. */
  nextCall(method: string): Promise<A2aCall>;
  /** Moves a task on, and tells whoever wants to hear of it; answers what they said to that. */
  move(task: A2aTask, state: string, parts?: Fields[]): Promise<number | undefined>;
  close(): Promise<void>;
}

/** Starts it. @param speaks how its card says that it is spoken to */
export async function startA2aAgent(
  speaks: 'JSONRPC' | 'HTTP+JSON' | '0.3' = 'JSONRPC',
  { push = false } = {},
): Promise<A2aAgent> {
  const old = speaks === '0.3';
  const waiting: Array<{ method: string; resolve: (call: A2aCall) => void }> = [];
  const server = createServer(async (request, response) => {
    const text = (await wholeBody(request))?.toString();
    if (text === undefined) return;
    const call = { path: request.url ?? '', headers: request.headers, body: text === '' ? {} : JSON.parse(text) };
    agent.calls.push(call);
    const method = String(call.body.method ?? call.path);
    const answer = answerTo(call);
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? { error: { code: 404, message: 'no such task' } }));
    for (const one of waiting.splice(0)) method.startsWith(one.method) ? one.resolve(call) : waiting.push(one);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  open.add(url);

  function answerTo({ path, body }: A2aCall): unknown {
    if (path === '/.well-known/agent-card.json') return agent.card;
    const params = (body.params ?? body) as Fields;
    const rpc = (result: unknown) =>
      result === undefined
        ? { jsonrpc: '2.0', id: body.id, error: { code: -32001, message: 'Task not found' } }
        : { jsonrpc: '2.0', id: body.id, result };
    if (body.method === 'message/send') return rpc(begin(params, 'pushNotificationConfig'));
    if (body.method === 'SendMessage') return rpc(begin(params, 'taskPushNotificationConfig'));
    if (path === '/a2a/message:send') return begin(params, 'taskPushNotificationConfig');
    const id = body.method === undefined ? path.match(/^\/a2a\/tasks\/([^?]+)/)?.[1] : params.id;
    const task = agent.tasks.find((one) => one.id === id);
    const said = task && taskOf(task);
    return body.method === undefined ? said : rpc(said);
  }

  function begin({ message, configuration }: Fields, pushName: string): Fields {
    const outcome = agent.onMessage(message as Fields);
    if ('message' in outcome) {
      const answer = { messageId: 'm1', role: old ? 'agent' : 'ROLE_AGENT', parts: outcome.message };
      return old ? { kind: 'message', ...answer } : { message: answer };
    }
    const push = ((configuration as Fields)[pushName] as { url: string } | undefined)?.url;
    const task = { id: `t${agent.tasks.length + 1}`, parts: [], push, ...outcome };
    agent.tasks.push(task);
    return old ? taskOf(task) : { task: taskOf(task) };
  }

  function taskOf({ id, state, parts }: A2aTask): Fields {
    const word = old ? state : `TASK_STATE_${state.replaceAll('-', '_').toUpperCase()}`;
    const common = { id, contextId: `c-${id}`, ...(old ? { kind: 'task' } : {}) };
    if (state === 'completed') return { ...common, status: { state: word }, artifacts: [{ artifactId: 'a', parts }] };
    const message = { messageId: 'm', role: old ? 'agent' : 'ROLE_AGENT', parts };
    return { ...common, status: { state: word, ...(parts.length > 0 ? { message } : {}) } };
  }

  const face = { url: `${url}/a2a`, protocolBinding: speaks, protocolVersion: '1.0' };
  const kind = old
    ? { protocolVersion: '0.3.0', url: face.url, preferredTransport: 'JSONRPC' }
    : { supportedInterfaces: [{ url: 'grpc.example.com:443', protocolBinding: 'GRPC', protocolVersion: '1.0' }, face] };
  const agent: A2aAgent = {
    url,
    card: { name: 'a2a', description: 'For tests.', version: '1', capabilities: { pushNotifications: push }, ...kind },
    calls: [],
    tasks: [],
    onMessage: () => ({ state: 'working' }),
    nextCall: (method) => new Promise((resolve) => waiting.push({ method, resolve })),
    async move(task, state, parts = []) {
      Object.assign(task, { state, parts });
      if (task.push === undefined) return undefined;
      const told = old ? taskOf(task) : { task: taskOf(task) };
      const headers = { 'content-type': old ? 'application/json' : 'application/a2a+json' };
      return (await fetch(task.push, { method: 'POST', headers, body: JSON.stringify(told) })).status;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          open.delete(url);
          resolve();
        });
        server.closeAllConnections();
      }),
  };
  return agent;
}

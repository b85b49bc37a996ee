import { Agent, request } from 'undici';
import type { PresentedTask } from '../../../src/tasks/present.ts';
import { lasting } from './wait.ts';

/** One request and its answer; `status` 0 is a connection that broke or never was. */
export interface Reply<T = Record<string, unknown>> {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: T;
  /** Milliseconds from the request to the whole answer. */
  ms: number;
}

export interface NewTask {
  type: string;
  input: unknown;
  priority?: number;
  [field: string]: unknown;
}

/** What has been promised to clients: every id that came with a 202. */
export interface Book {
  accepted: Set<string>;
  /** How long each submission took to be answered, in milliseconds, whatever the answer. */
  waits: number[];
  /** How many answers there were of each status. */
  answers: Map<number, number>;
}

export interface RigClient {
  book: Book;
  /** The access token it sends. */
  token(): string;
  request<T = Record<string, unknown>>(
    method: string,
    path: string,
    options?: { body?: unknown; headers?: Record<string, string>; api?: number; timeoutMs?: number },
  ): Promise<Reply<T>>;
  /** Submits one task; an id that is accepted goes into the book. */
  submit(task: NewTask, options?: { key?: string; api?: number }): Promise<Reply<PresentedTask>>;
  /** Submits until it is accepted, as a client with a key would, and answers the id. */
  insist(task: NewTask, options?: { key?: string; api?: number }): Promise<string>;
  /** Submits many, so many at a time, each until it is accepted where `insist` is set. Answers the ids that were accepted. */
  load(
    tasks: NewTask[],
    options?: { atOnce?: number; perSecond?: number; insist?: boolean; until?: () => boolean },
  ): Promise<string[]>;
  /** Submits in batches of 1,000. Answers the ids. */
  loadBatches(tasks: NewTask[]): Promise<string[]>;
  /** Closes the connections that are kept alive. */
  rest(): Promise<void>;
  close(): Promise<void>;
}

const TIMEOUT_MS = 30_000;
const PATIENCE_MS = 180_000;

/** Makes a client that spreads its requests over the APIs. @param token answers the access token */
export function createRigClient(urls: string[], token: () => string): RigClient {
  const open = () => new Agent({ connections: 64, connect: { timeout: 5_000 }, headersTimeout: 0, bodyTimeout: 0 });
  let agent = open();
  const book: Book = { accepted: new Set(), waits: [], answers: new Map() };
  let turn = 0;

  const client: RigClient = {
    book,
    token,
    async request<T>(
      method: string,
      path: string,
      {
        body,
        headers = {},
        api = turn++ % urls.length,
        timeoutMs = TIMEOUT_MS,
      }: { body?: unknown; headers?: Record<string, string>; api?: number; timeoutMs?: number } = {},
    ): Promise<Reply<T>> {
      const started = performance.now();
      try {
        const answer = await request(urls[api] + path, {
          method: method as 'GET',
          dispatcher: agent,
          signal: AbortSignal.timeout(timeoutMs),
          headers: {
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...(token() ? { authorization: `Bearer ${token()}` } : {}),
            ...headers,
          },
          body: body === undefined ? undefined : JSON.stringify(body),
        });
        const text = await answer.body.text();
        const json = String(answer.headers['content-type'] ?? '').includes('json');
        return {
          status: answer.statusCode,
          headers: answer.headers,
          body: (json ? JSON.parse(text) : text) as T,
          ms: performance.now() - started,
        };
      } catch {
        return { status: 0, headers: {}, body: {} as T, ms: performance.now() - started };
      }
    },

    async submit(task, { key, api } = {}) {
      const reply = await client.request<PresentedTask>('POST', '/api/v1/tasks', {
        body: task,
        api,
        headers: key ? { 'idempotency-key': key } : {},
      });
      book.waits.push(reply.ms);
      book.answers.set(reply.status, (book.answers.get(reply.status) ?? 0) + 1);
      if (reply.status === 202) book.accepted.add(reply.body.id);
      return reply;
    },

    async insist(task, options) {
      for (const until = Date.now() + PATIENCE_MS; Date.now() < until; ) {
        const reply = await client.submit(task, options);
        if (reply.status === 202) return reply.body.id;
        if (reply.status !== 0 && reply.status !== 503 && reply.status !== 409 && reply.status !== 429)
          throw new Error(`a submission was answered ${reply.status}: ${JSON.stringify(reply.body)}`);
        await lasting(100 + 200 * Math.random());
      }
      throw new Error(`a submission was not accepted within ${PATIENCE_MS} ms`);
    },

    async load(tasks, { atOnce = 16, perSecond, insist = false, until = () => false } = {}) {
      const ids: string[] = [];
      const started = Date.now();
      let next = 0;
      async function one(): Promise<void> {
        while (next < tasks.length && !until()) {
          const at = next++;
          const task = tasks[at] as NewTask;
          if (perSecond) await lasting(Math.max(0, started + (at / perSecond) * 1000 - Date.now()));
          if (insist) ids.push(await client.insist(task));
          else {
            const reply = await client.submit(task);
            if (reply.status === 202) ids.push(reply.body.id);
          }
        }
      }
      await Promise.all(Array.from({ length: atOnce }, one));
      return ids;
    },

    async loadBatches(tasks) {
      const ids: string[] = [];
      for (let at = 0; at < tasks.length; at += 1_000) {
        const reply = await client.request<{ tasks: Array<{ id: string }> }>('POST', '/api/v1/tasks/batch', {
          body: { tasks: tasks.slice(at, at + 1_000) },
        });
        if (reply.status !== 202)
          throw new Error(`a batch was answered ${reply.status}: ${JSON.stringify(reply.body)}`);
        for (const { id } of reply.body.tasks) {
          book.accepted.add(id);
          ids.push(id);
        }
      }
      return ids;
    },

    async rest() {
      const old = agent;
      agent = open();
      await old.close();
    },
    close: () => agent.destroy(),
  };
  return client;
}

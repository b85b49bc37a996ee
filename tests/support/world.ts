import { randomBytes } from 'node:crypto';
import { hash } from '@node-rs/bcrypt';
import { inject } from 'vitest';
import { type Callbacks, createCallbacks } from '../../src/callbacks.ts';
import { loadConfig } from '../../src/config.ts';
import type { Db } from '../../src/db/connect.ts';
import { newId } from '../../src/db/ids.ts';
import type { Role } from '../../src/db/schema.ts';
import { insertUser } from '../../src/db/users.ts';
import { type Mode, type Running, run } from '../../src/deps.ts';
import { createLog } from '../../src/log.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { createTestDatabase } from './database.ts';
import { type FakeOllama, startFakeOllama } from './fake-ollama.ts';

export const BACKENDS = ['redis', 'postgres'] as const;
export type Backend = (typeof BACKENDS)[number];

export const ADMIN_PASSWORD = 'correct horse battery';

/** The whole product in this process, on a database and a Redis prefix of its own, with a scripted Ollama. */
export interface World {
  url: string;
  db: Db;
  databaseUrl: string;
  ollama: FakeOllama;
  running: Running;
  /** Settings of this world, for further processes on the same data. */
  env: Record<string, string>;
  /** Another process of the product, in this one. */
  join(mode: Mode, env?: Record<string, string>): Promise<Running>;
  /** An HTTP client, logged in as a fresh user of this role. */
  client(role?: Role): Promise<Client>;
  anonymous: Client;
  close(): Promise<void>;
}

export interface Answer<T = Record<string, unknown>> {
  status: number;
  headers: Headers;
  body: T;
}

export interface Client {
  userId: string;
  username: string;
  token: string | undefined;
  request<T = Record<string, unknown>>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer<T>>;
  /** Submits a task and answers it once it has ended; fails the test when it is not accepted. */
  runTask(type: string, input: unknown, more?: Record<string, unknown>): Promise<PresentedTask>;
  submit(
    type: string,
    input: unknown,
    more?: Record<string, unknown>,
  ): Promise<PresentedTask & { webhook_secret?: string }>;
  waitForEnd(id: string): Promise<PresentedTask>;
}

/** Starts a world. @param env settings that differ from the usual ones of tests */
export async function createWorld(
  options: { backend?: Backend; mode?: Mode; env?: Record<string, string> } = {},
): Promise<World> {
  const database = await createTestDatabase();
  const ollama = await startFakeOllama();
  const env = {
    NODE_ENV: 'test',
    LOG_LEVEL: process.env.TEST_LOG_LEVEL ?? 'silent',
    PORT: '0',
    DATABASE_URL: database.url,
    // The second run of the suite puts the worlds that do not care on the other backend.
    QUEUE_BACKEND: options.backend ?? process.env.TEST_QUEUE_BACKEND ?? 'postgres',
    REDIS_URL: inject('redisUrl'),
    QUEUE_PREFIX: `t${randomBytes(6).toString('hex')}`,
    OLLAMA_HOST: ollama.url,
    // Tests that hold several calls at once need room for them.
    OLLAMA_NUM_PARALLEL: '16',
    // What a test asks for comes to its host, however often.
    EMBEDDING_CACHE_MB: '0',
    QDRANT_URL: inject('qdrantUrl'),
    JWT_SECRET_KEY: 'only-for-tests-only-for-tests-only-for-tests',
    ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
    ADMIN_PASSWORD,
    BCRYPT_COST: '4',
    RATE_LIMIT_PER_MINUTE: '0',
    AUTH_RATE_LIMIT_PER_MINUTE: '0',
    MAX_WAITING_TASKS_PER_USER: '0',
    MAX_WEBHOOKS_PER_USER: '0',
    MAX_AGENTS_PER_USER: '0',
    SHUTDOWN_GRACE_SECONDS: '5',
    EGRESS_ALLOW: '127.0.0.1',
    ...options.env,
  };
  const start = (mode: Mode, more: Record<string, string> = {}) => {
    const config = loadConfig({ ...env, ...more });
    return run(config, mode, createLog(config.logLevel));
  };
  const running = await start(options.mode ?? 'start');
  const joined: Running[] = [];
  const url = running.url as string;
  return {
    url,
    db: database.db,
    databaseUrl: database.url,
    ollama,
    running,
    env,
    async join(mode, more) {
      const other = await start(mode, more);
      joined.push(other);
      return other;
    },
    client: (role = 'user') => createClient(url, database.db, role),
    anonymous: anonymousClient(url),
    async close() {
      for (const other of joined.reverse()) await other.close();
      await running.close();
      await ollama.close();
      await database.close();
    },
  };
}

/** The addresses that tasks of a world give out. */
export function callbacksOf({ env, url }: Pick<World, 'env' | 'url'>): Callbacks {
  return createCallbacks(createSecretBox(env.ENCRYPTION_KEY as string), () => url);
}

/** A client without a token, or with one that somebody else got. */
export function anonymousClient(url: string, token?: string): Client {
  return clientOf(url, '', '', token);
}

async function createClient(url: string, db: Db, role: Role): Promise<Client> {
  const username = `u${randomBytes(5).toString('hex')}`;
  const password_hash = await hash(ADMIN_PASSWORD, 4);
  const user = await insertUser(db, { id: newId(), username, email: `${username}@example.com`, password_hash, role });
  const login = await anonymousClient(url).request<{ access_token: string }>('POST', '/api/v1/auth/login', {
    username,
    password: ADMIN_PASSWORD,
  });
  return clientOf(url, user?.id ?? '', username, login.body.access_token);
}

function clientOf(url: string, userId: string, username: string, token: string | undefined): Client {
  const client: Client = {
    userId,
    username,
    token,
    async request<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
      const answer = await fetch(url + path, {
        method,
        headers: {
          ...(body === undefined || body instanceof FormData ? {} : { 'content-type': 'application/json' }),
          ...(token ? { authorization: `Bearer ${token}` } : {}),
          ...headers,
        },
        body: body instanceof FormData || typeof body === 'string' ? body : JSON.stringify(body),
        redirect: 'manual',
      });
      const text = await answer.text();
      const json = (answer.headers.get('content-type') ?? '').includes('json') && text !== '';
      return { status: answer.status, headers: answer.headers, body: (json ? JSON.parse(text) : text) as T };
    },
    async submit(type, input, more = {}) {
      const answer = await client.request<PresentedTask>('POST', '/api/v1/tasks', { type, input, ...more });
      if (answer.status !== 202) throw new Error(`not accepted: ${answer.status} ${JSON.stringify(answer.body)}`);
      return answer.body;
    },
    async waitForEnd(id) {
      for (;;) {
        const { body, status } = await client.request<PresentedTask>('GET', `/api/v1/tasks/${id}`, undefined, {
          prefer: 'wait=20',
        });
        if (status !== 200) throw new Error(`reading the task answered ${status}`);
        if (body.completed_at) return body;
      }
    },
    async runTask(type, input, more) {
      const { id } = await client.submit(type, input, more);
      return client.waitForEnd(id);
    },
  };
  return client;
}

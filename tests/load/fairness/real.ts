import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hash } from '@node-rs/bcrypt';
import { createDb, createPool, type Db } from '../../../src/db/connect.ts';
import { newId } from '../../../src/db/ids.ts';
import { insertUser } from '../../../src/db/users.ts';
import { startPostgres } from '../../../src/embedded/postgres.ts';
import { createLog } from '../../../src/log.ts';
import { startProduct } from '../../support/product.ts';
import { until } from '../../support/until.ts';
import { ORDERS, type Order, type SimRun, type SimTask } from './simulate.ts';

const PASSWORD = 'only for this bench';
const SLOTS = 8;
const RUN_MS = 50;
const PATIENCE = { withinMs: 600_000, everyMs: 200 };

/** With every waiting task in the queue store and nothing for waiting, BullMQ goes by priority alone. */
const ENV: Record<Order, Record<string, string>> = {
  'first come': { QUEUE_JOBS_MAX: '0', PRIORITY_AGING_SECONDS: '0' },
  'strict priority': { QUEUE_JOBS_MAX: '0', PRIORITY_AGING_SECONDS: '0' },
  ours: { QUEUE_JOBS_MAX: '2000' },
};

/** What a real run came to. */
export interface RealRun {
  order: Order;
  runs: SimRun[];
  slots: number;
  failed: number;
}

interface Client {
  name: string;
  submit(tasks: object[]): Promise<void>;
}

/** Who submits what, and when. */
export function realTasks(count: number): SimTask[] {
  const lights = ['light1', 'light2', 'light3', 'light4'];
  const seconds = Math.floor((count * RUN_MS) / SLOTS / 1_000);
  return [
    ...Array.from({ length: count }, () => ({ user: 'heavy', at: 0, priority: 5, ms: RUN_MS })),
    ...['urgent', ...lights].flatMap((user, index) =>
      Array.from({ length: 2 * seconds }, (_, n) => ({
        user,
        at: 500 * (n + 1) + 100 * index,
        priority: user === 'urgent' ? 1 : 5,
        ms: RUN_MS,
      })),
    ),
  ];
}

/**
 * The same tasks, by several users, through the product and its embedded Postgres, in each order: an agent on a socket answers each after
 * 50 ms, eight at a time. Redis where one is named.
 */
export async function runReally(count: number, redisUrl: string): Promise<RealRun[]> {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const log = createLog('warn');
  const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), password: 'bench', log });
  const agent = createServer((_, response) => setTimeout(() => response.end('{}'), RUN_MS));
  await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(agent.address() as AddressInfo).port}/`;
  const env = {
    ...{ PATH: process.env.PATH ?? '', HOME: folder, DATA_DIR: folder, LOG_LEVEL: 'warn', PORT: '0' },
    ...{ DATABASE_URL: postgres.url, ENABLE_VECTOR_SEARCH: 'false', OLLAMA_HOST: url, EGRESS_ALLOW: '127.0.0.1' },
    ...{ JWT_SECRET_KEY: 'x'.repeat(40), ENCRYPTION_KEY: Buffer.alloc(32).toString('base64') },
    ...{ ADMIN_PASSWORD: PASSWORD, RATE_LIMIT_PER_MINUTE: '0', MAX_WAITING_TASKS_PER_USER: '0' },
    ...{ WORKER_CONCURRENCY: String(SLOTS), ...(redisUrl ? { REDIS_URL: redisUrl } : {}) },
  };
  const results: RealRun[] = [];
  try {
    for (const order of ORDERS) {
      const product = await startProduct(['start'], { ...env, ...ENV[order], QUEUE_PREFIX: `bench_${results.length}` });
      const pool = createPool({ url: postgres.url, max: 2, name: 'bench', log });
      const db = createDb(pool);
      try {
        const tasks = realTasks(count);
        const names = [...new Set(tasks.map(({ user }) => user))];
        const clients = new Map<string, Client>();
        for (const name of names) clients.set(name, await logIn(db, product.url, `${name}_${results.length}`));
        await submitAll(tasks, clients, url, order);
        await until('all have ended', async () => (await open(db)) === 0, PATIENCE);
        results.push({ order, slots: SLOTS, ...(await look(db, `_${results.length}`)) });
      } finally {
        await db.destroy();
        await product.stop('SIGTERM');
      }
    }
  } finally {
    agent.close();
    await postgres.close();
    await rm(folder, { recursive: true, force: true });
  }
  return results;
}

async function logIn(db: Db, url: string, username: string): Promise<Client> {
  const password_hash = await hash(PASSWORD, 4);
  await insertUser(db, { id: newId(), username, email: `${username}@example.com`, password_hash, role: 'user' });
  const call = async (path: string, body: object, token?: string) => {
    const answer = await fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as { access_token: string };
  };
  const { access_token } = await call('/api/v1/auth/login', { username, password: PASSWORD });
  return { name: username, submit: async (tasks) => void (await call('/api/v1/tasks/batch', { tasks }, access_token)) };
}

/** Submits what comes at the same time of a user together. */
async function submitAll(tasks: SimTask[], clients: Map<string, Client>, url: string, order: Order): Promise<void> {
  const moments = Map.groupBy(
    tasks.toSorted((a, b) => a.at - b.at),
    ({ at, user }) => `${at} ${user}`,
  );
  const began = performance.now();
  for (const own of moments.values()) {
    const { at, user } = own[0] as SimTask;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, at - (performance.now() - began))));
    const bodies = own.map(({ priority }) => ({
      type: 'http.request',
      input: { method: 'POST', url },
      ...(order === 'first come' ? {} : { priority }),
    }));
    for (let from = 0; from < bodies.length; from += 100)
      await clients.get(user)?.submit(bodies.slice(from, from + 100));
  }
}

async function open(db: Db): Promise<number> {
  const { n } = await db
    .selectFrom('tasks')
    .select(({ fn }) => fn.countAll<number>().as('n'))
    .where('completed_at', 'is', null)
    .executeTakeFirstOrThrow();
  return Number(n);
}

async function look(db: Db, suffix: string): Promise<Pick<RealRun, 'runs' | 'failed'>> {
  const rows = await db
    .selectFrom('tasks')
    .innerJoin('users', 'users.id', 'tasks.user_id')
    .select(['username', 'status', 'priority', 'tasks.created_at', 'started_at', 'completed_at'])
    .where('username', 'like', `%${suffix}`)
    .execute();
  const began = Math.min(...rows.map(({ created_at }) => created_at.getTime()));
  const since = (at: Date | null) => (at?.getTime() ?? Number.NaN) - began;
  return {
    failed: rows.filter(({ status }) => status !== 'completed').length,
    runs: rows.map(({ username, priority, created_at, started_at, completed_at }) => ({
      user: username.slice(0, -suffix.length),
      ...{ at: since(created_at), priority, started: since(started_at) },
      ms: since(completed_at) - since(started_at),
    })),
  };
}

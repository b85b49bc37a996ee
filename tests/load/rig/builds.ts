import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Child, startChild } from './child.ts';
import type { Model } from './model.ts';
import { openPostgres, openRedis, type Store, statements } from './stores.ts';

export const BACKENDS = ['redis', 'postgres'] as const;
export type Backend = (typeof BACKENDS)[number];

/** A build of the stack with stores of its own, up and ready to take tasks. */
export interface Build {
  name: string;
  backend: Backend;
  /** Where its API listens; several where several processes do. */
  urls: string[];
  /** Its processes, whose children count too. */
  processes: { api: number[]; worker: number[]; postgres: number[]; redis: number[] };
  database: string;
  redis: Store | undefined;
  /** Access tokens, one a user. */
  tokens: string[];
  userIds: string[];
  /** The body of a submission, of 300 bytes. */
  body: (priority: number) => string;
  path: string;
  stopWorker(): Promise<void>;
  startWorker(): Promise<void>;
  /** Takes what has ended out of the database. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

export interface BuildOptions {
  folder: string;
  model: Model;
  backend: Backend;
  /** Processes of the API. */
  apis?: number;
  /** Tasks that a worker runs at a time. */
  concurrency?: number;
  users?: number;
  /** Settings of the product that differ from those of the bench. */
  env?: Record<string, string>;
  /** Options of Node for the processes, such as `--cpu-prof`. */
  node?: string[];
}

/** How many tasks a worker runs at a time here. */
export const CONCURRENCY = 64;
const BODY_BYTES = 300;

/** Fills a text field of a body so that the whole has 300 bytes. */
export function padded(make: (text: string) => object): string {
  const bare = Buffer.byteLength(JSON.stringify(make('')));
  const sentence = 'Once upon a time there was a small robot that counted the stars. ';
  return JSON.stringify(make(sentence.repeat(5).slice(0, BODY_BYTES - bare)));
}

/** What every build needs: a folder and stores. */
export async function openStores(folder: string, backend: Backend) {
  await mkdir(folder, { recursive: true });
  const postgres = await openPostgres(folder);
  const redis = backend === 'redis' ? await openRedis(folder) : undefined;
  return {
    postgres,
    redis,
    close: async () => void (await Promise.all([postgres.close(), redis?.close()])),
  };
}

/** Waits until a process has printed that it is up; answers the address where it says one. */
export async function whenUp(child: Child, log: string): Promise<string> {
  for (;;) {
    const found = /is up(?: at (\S+))?/.exec(readFileSync(log, 'utf8'));
    if (found) return found[1] ?? '';
    if (child.process.exitCode !== null) throw new Error(`it ended before it was up: ${readFileSync(log, 'utf8')}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A worker that can be stopped and started again. */
export async function openWorker(start: (number: number) => Promise<Child>) {
  let starts = 1;
  let child: Child | undefined = await start(starts);
  return {
    pids: () => (child ? [child.pid] : []),
    async stop() {
      await child?.stop();
      child = undefined;
    },
    async start() {
      child ??= await start(++starts);
    },
  };
}

/** The naive build: what one would write first with the same parts. */
export async function openNaive(options: BuildOptions): Promise<Build> {
  const { backend, model, concurrency = CONCURRENCY, users = 8, node } = options;
  const name = `naive on ${backend}`;
  const folder = join(options.folder, `naive-${backend}`);
  const stores = await openStores(folder, backend);
  const env = {
    DATABASE_URL: stores.postgres.url,
    MODEL_URL: model.url,
    CONCURRENCY: `${concurrency}`,
    ...(stores.redis ? { REDIS_URL: stores.redis.url } : {}),
  };
  const api = startChild(folder, 'api', 'tests/load/naive/api.ts', { env: { ...env, USERS: `${users}` }, node });
  const { url, tokens, userIds } = await api.message<{ url: string; tokens: string[]; userIds: string[] }>('url');
  const worker = await openWorker(async (number) => {
    const child = startChild(folder, `worker-${number}`, 'tests/load/naive/worker.ts', { env, node });
    await child.message<{ up: true }>('up');
    return child;
  });
  return {
    ...{ name, backend, urls: [url], tokens, userIds, path: '/tasks', database: stores.postgres.url },
    redis: stores.redis,
    get processes() {
      return {
        api: [api.pid],
        worker: worker.pids(),
        postgres: [stores.postgres.pid],
        redis: stores.redis ? [stores.redis.pid] : [],
      };
    },
    body: (priority) => padded((prompt) => ({ input: { prompt }, priority })),
    stopWorker: worker.stop,
    startWorker: worker.start,
    clear: () => statements(stores.postgres.url, async (client) => void (await client.query('truncate tasks'))),
    async close() {
      await Promise.all([api.stop(), worker.stop()]);
      await stores.close();
    },
  };
}

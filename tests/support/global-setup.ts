import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { TestProject } from 'vitest/node';
import { makeDocument } from '../../scripts/openapi.ts';
import { createDb, createPool } from '../../src/db/connect.ts';
import { migrateUp } from '../../src/db/migrate.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { startVectorStore } from '../../src/embedded/vectors/server.ts';
import { createLog } from '../../src/log.ts';
import { migrateQueueBackend } from '../../src/queues/backend.ts';
import { memoryOrDisk } from './memory.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** A Postgres whose database `template` is migrated and never connected to. */
    postgresUrl: string;
    redisUrl: string;
    qdrantUrl: string;
    /** The OpenAPI document of the API, as JSON. */
    openapi: string;
  }
}

/** More than the databases of a whole run take at a time. */
const MEMORY_BYTES = 6 * 2 ** 30;

/** Starts one Postgres, one Redis and one vector store for the whole run; each test has a database and a prefix of its own. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(await memoryOrDisk(MEMORY_BYTES), 'sutazai-test-'));
  const log = createLog('silent');
  const [postgres, redis, vectors] = await Promise.all([
    startPostgres({
      dataDir: join(folder, 'postgres'),
      password: 'test',
      log,
      database: 'template',
      // A connection that a relay holds back before its first word keeps databases from being dropped until that time is over.
      settings: { fsync: 'off', full_page_writes: 'off', authentication_timeout: '5s' },
    }),
    startRedis(folder),
    startVectorStore({ dataDir: join(folder, 'vectors'), log }),
  ]);

  const pool = createPool({ url: postgres.url, max: 3, name: 'setup', log });
  const db = createDb(pool);
  await migrateUp({ db, pool, log });
  await migrateQueueBackend({ kind: 'postgres' }, pool);
  await db.destroy();

  project.provide('postgresUrl', postgres.url);
  project.provide('redisUrl', redis.url);
  project.provide('qdrantUrl', vectors.url);
  project.provide('openapi', JSON.stringify(await makeDocument()));
  return async () => {
    await Promise.all([postgres.close(), redis.close(), vectors.close()]);
    await rm(folder, { recursive: true, force: true });
  };
}

async function startRedis(folder: string): Promise<{ url: string; close(): Promise<void> }> {
  const port = await freePort();
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    folder,
    '--save',
    '',
    '--appendonly',
    'no',
    '--maxmemory-policy',
    'noeviction',
  ];
  const server = spawn('redis-server', args, { stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const missing = new Promise<never>((_, reject) => {
    server.once('error', () =>
      reject(
        new Error('redis-server is not on the PATH; `npm test` installs it on Debian, elsewhere install it by hand'),
      ),
    );
  });
  const client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on('error', () => {});
  await Promise.race([client.ping(), missing]).finally(() => client.disconnect());
  return {
    url: `redis://127.0.0.1:${port}`,
    async close() {
      server.kill('SIGTERM');
      await exited;
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import pg from 'pg';
import { startPostgres } from '../../../src/embedded/postgres.ts';
import { createLog } from '../../../src/log.ts';
import { freePort } from '../../support/redis.ts';
import { endWithUs } from './child.ts';

/** A store of one build alone. */
export interface Store {
  url: string;
  pid: number;
  close(): Promise<void>;
}

/** The Postgres that npm brings, as durable as it is by itself: what it says is committed is on the disk. */
export async function openPostgres(folder: string): Promise<Store> {
  const dataDir = join(folder, 'postgres');
  const { url, close } = await startPostgres({ dataDir, password: 'bench', log: createLog('warn') });
  const pid = Number((await readFile(join(dataDir, 'cluster', 'postmaster.pid'), 'utf8')).split('\n')[0]);
  const ended = endWithUs(pid, 'SIGQUIT');
  return { url, pid, close: () => close().finally(ended) };
}

/** Runs statements on a connection of their own. */
export async function statements<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** A Redis as the product asks for it: an append-only file that is written out every second, and nothing is evicted. */
export async function openRedis(folder: string): Promise<Store> {
  const [port, dir] = [await freePort(), join(folder, 'redis')];
  await mkdir(dir, { recursive: true });
  const flags = { port, dir, bind: '127.0.0.1', appendonly: 'yes', appendfsync: 'everysec', save: '' };
  const args = Object.entries({ ...flags, maxmemory: '4gb', 'maxmemory-policy': 'noeviction' });
  const server: ChildProcess = spawn(
    'redis-server',
    args.flatMap(([name, value]) => [`--${name}`, `${value}`]),
    { stdio: 'ignore' },
  );
  const exited = once(server, 'exit').finally(endWithUs(server.pid as number));
  const client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null, retryStrategy: () => 20 });
  client.on('error', () => {});
  await client.ping().finally(() => client.disconnect());
  return {
    url: `redis://127.0.0.1:${port}`,
    pid: server.pid as number,
    async close() {
      server.kill('SIGTERM');
      await exited;
    },
  };
}

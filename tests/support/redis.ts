import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';
import { open } from './open.ts';

/** A Redis of the test's own, which it may stop, kill, freeze and flush. */
export interface PrivateRedis {
  url: string;
  /** Starts it, again after a stop: empty, because nothing is saved. */
  start(): Promise<void>;
  /** Sends a signal; for those that end the process, waits for its end. */
  signal(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): Promise<void>;
  /** Runs one command. */
  command(name: string, ...args: string[]): Promise<unknown>;
  close(): Promise<void>;
}

interface Options {
  /** Further settings, as lines of a configuration file. */
  settings?: (port: number) => string[];
  /** How the test itself speaks to it, where that takes more than a port. */
  client?: RedisOptions;
}

/** Starts it on a free port. */
export async function startPrivateRedis({ settings, client: more = {} }: Options = {}): Promise<PrivateRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-redis-'));
  const port = await freePort();
  let server: ChildProcess | undefined;
  let exited: Promise<void> = Promise.resolve();
  open.add(folder);

  async function command(name: string, ...args: string[]): Promise<unknown> {
    const client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null, retryStrategy: () => 20, ...more });
    client.on('error', () => {});
    return client.call(name, ...args).finally(() => client.disconnect());
  }

  const redis: PrivateRedis = {
    url: `redis://127.0.0.1:${port}`,
    command,
    async start() {
      const usual = [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, 'save ""', 'appendonly no'];
      server = spawn('redis-server', ['-'], { stdio: ['pipe', 'ignore', 'ignore'] });
      server.stdin?.end([...usual, 'maxmemory-policy noeviction', ...(settings?.(port) ?? [])].join('\n'));
      exited = new Promise((resolve) => server?.once('exit', () => resolve()));
      await command('PING');
    },
    async signal(signal) {
      server?.kill(signal);
      if (signal === 'SIGKILL') await exited;
    },
    async close() {
      server?.kill('SIGKILL');
      await exited;
      // A child of Redis may still be writing its file.
      await rm(folder, { recursive: true, force: true, maxRetries: 10 });
      open.delete(folder);
    },
  };
  await redis.start();
  return redis;
}

/** A port that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

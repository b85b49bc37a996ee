import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { endWithUs } from '../../../src/lifecycle.ts';
import { startProxy, type TcpProxy } from './proxy.ts';
import { freePort } from './wait.ts';

/** A Redis of the rig's own, with an append-only file as in production, and a proxy before it. */
export interface RigRedis {
  /** What the product connects to, through the proxy. */
  url: string;
  proxy: TcpProxy;
  /** Runs one command past the proxy; waits while Redis is down. */
  command(name: string, ...args: Array<string | number>): Promise<unknown>;
  /** `SIGKILL` and `SIGTERM` are waited for. */
  signal(signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): Promise<void>;
  /** Starts it again after it was stopped; `empty` without what it had written. */
  start(options?: { empty?: boolean }): Promise<void>;
  folder: string;
  close(): Promise<void>;
}

/** Starts it. */
export async function startRigRedis(folder: string, more: Record<string, string> = {}): Promise<RigRedis> {
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  let server: ChildProcess | undefined;
  let exited: Promise<void> = Promise.resolve();
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder,
    save: '',
    appendonly: 'yes',
    appendfsync: 'everysec',
    'maxmemory-policy': 'noeviction',
    ...more,
  };

  async function command(name: string, ...args: Array<string | number>): Promise<unknown> {
    const client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null, retryStrategy: () => 20 });
    client.on('error', () => {});
    return client.call(name, ...args.map(String)).finally(() => client.disconnect());
  }

  async function start({ empty = false } = {}): Promise<void> {
    if (empty) await rm(join(folder, 'appendonlydir'), { recursive: true, force: true });
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    server = spawn('redis-server', args, { stdio: 'ignore' });
    endWithUs(server, 'SIGKILL');
    exited = new Promise((resolve) => server?.once('exit', () => resolve()));
    await command('PING').catch(() => {});
  }

  await start();
  const proxy = await startProxy(port);
  return {
    url: `redis://127.0.0.1:${proxy.port}`,
    proxy,
    command,
    start,
    folder,
    async signal(signal) {
      server?.kill(signal);
      if (signal === 'SIGKILL' || signal === 'SIGTERM') await exited;
    },
    async close() {
      await proxy.close();
      server?.kill('SIGKILL');
      await exited;
    },
  };
}

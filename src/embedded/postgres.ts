import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { platform } from 'node:os';
import { join, resolve } from 'node:path';
import pg from 'pg';
import { UsageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { explain, findBinaries, initialise, stopLeftOver, USER } from './postgres-cluster.ts';
import { unprivilegedLauncher } from './unprivileged.ts';

/** Postgres from npm, on a data directory of ours. */
export interface EmbeddedPostgres {
  /** With the password inside. */
  url: string;
  close(): Promise<void>;
}

interface Options {
  /** Where the cluster lives; made when it is not there. */
  dataDir: string;
  password: string;
  log: Logger;
  /** The name of the database to make. */
  database?: string;
  /** Further settings, such as `{ fsync: 'off' }` for tests. */
  settings?: Record<string, string>;
}

const START_TIMEOUT_MS = 60_000;

/** A small server that several processes of one machine share. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  shared_buffers: '64MB',
  dynamic_shared_memory_type: platform() === 'linux' ? 'mmap' : 'posix',
  wal_compression: 'on',
  log_min_messages: 'warning',
};

/** Starts it, and makes the cluster and the database first where they are missing. A server left over from a killed run is stopped first. */
export async function startPostgres({
  dataDir,
  password,
  log,
  database = 'sutazai',
  settings = {},
}: Options): Promise<EmbeddedPostgres> {
  const cluster = resolve(dataDir, 'cluster');
  const binaries = await findBinaries();
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const launcher = await unprivilegedLauncher(cluster, binaries.postgres);
  if (!existsSync(join(cluster, 'PG_VERSION'))) await initialise({ dataDir, cluster, binaries, password, launcher });
  await stopLeftOver(cluster, binaries, launcher, log);

  const port = await freePort();
  const logFile = join(dataDir, 'postgres.log');
  const output = openSync(logFile, 'w', 0o600);
  const flags = Object.entries({ ...SETTINGS, ...settings, port: String(port) }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
  // In a group of its own, so that Ctrl-C does not take the database away while tasks are still being given back.
  const server = launcher.spawn(binaries.postgres, ['-D', cluster, ...flags], {
    stdio: ['ignore', output, output],
    detached: true,
    cwd: dataDir,
  });
  closeSync(output);
  server.unref();
  const exited = new Promise<number | null>((done) => server.once('exit', done));
  const url = (name: string) => `postgres://${USER}:${encodeURIComponent(password)}@127.0.0.1:${port}/${name}`;
  try {
    await waitUntilUp(url('postgres'), exited, logFile);
    await ensureDatabase(url('postgres'), database);
  } catch (error) {
    server.kill('SIGQUIT');
    throw error;
  }
  let closing = false;
  void exited.then((code) => {
    if (!closing)
      log.fatal(
        { code },
        `the embedded Postgres ended by itself; its log is ${logFile}. Stop and start again: what was accepted is kept.`,
      );
  });
  log.debug({ port }, 'embedded Postgres is up');
  return {
    url: url(database),
    async close() {
      closing = true;
      // SIGINT is Postgres' fast shutdown: it ends sessions and writes everything out.
      server.kill('SIGINT');
      // Nothing else may hold the process up by now, and it must not end before the database has.
      server.ref();
      await exited;
    },
  };
}

async function waitUntilUp(url: string, exited: Promise<number | null>, logFile: string): Promise<void> {
  let dead = false;
  void exited.then(() => (dead = true));
  for (const until = Date.now() + START_TIMEOUT_MS; Date.now() < until; ) {
    if (dead)
      throw new UsageError(
        `The embedded Postgres did not start: ${explain(await readFile(logFile, 'utf8').catch(() => ''))} Its log is ${logFile}.`,
      );
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
    client.on('error', () => {});
    try {
      await client.connect();
      return;
    } catch (error) {
      if ((error as { code?: string }).code === '28P01')
        throw new UsageError(
          `The embedded Postgres does not take the password in secrets.json beside its data. Put the old file back, or move the data directory away to start anew.`,
        );
      await new Promise((again) => setTimeout(again, 50));
    } finally {
      await client.end().catch(() => {});
    }
  }
  throw new UsageError(
    `The embedded Postgres did not answer within ${START_TIMEOUT_MS / 1000} s. Its log is ${logFile}.`,
  );
}

async function ensureDatabase(url: string, name: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (rowCount === 0) await client.query(`create database ${pg.escapeIdentifier(name)}`);
  } finally {
    await client.end();
  }
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => done(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

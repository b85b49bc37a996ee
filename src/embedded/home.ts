import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { UsageError } from '../errors.ts';

/** Secrets that were made because none were configured. */
export interface LocalSecrets {
  JWT_SECRET_KEY: string;
  ENCRYPTION_KEY: string;
  POSTGRES_PASSWORD: string;
  ADMIN_PASSWORD: string;
}

/** What a running `sutazai start` tells further processes on the same machine. */
export interface RunInfo {
  pid: number;
  url: string | undefined;
  databaseUrl: string;
  ollamaHost: string;
  qdrantUrl: string | undefined;
}

/** The data directory: one `sutazai start` at a time owns it. */
export interface Home {
  secrets: LocalSecrets;
  writeRunInfo(info: RunInfo): void;
  close(): void;
}

const secretsFile = (dataDir: string) => join(dataDir, 'secrets.json');
const runFile = (dataDir: string) => join(dataDir, 'run.json');

/** Takes the data directory, making it and its secrets where they are missing. @throws UsageError when another process has it */
export function openHome(dataDir: string): Home {
  makeFolder(dataDir);
  const lock = takeLock(dataDir);
  return {
    secrets: loadSecrets(dataDir),
    writeRunInfo: (info) => writeAtomically(runFile(dataDir), info),
    close() {
      rmSync(runFile(dataDir), { force: true });
      lock.close();
    },
  };
}

/** The `sutazai start` that runs on the data directory, if one does. */
export function findRun(dataDir: string): RunInfo | undefined {
  const run = readJson<RunInfo>(runFile(dataDir));
  return run && isAlive(run.pid) ? run : undefined;
}

/** Node's own way to make parents too never ends where they cannot be made and it is not said why, as below /proc. */
function makeFolders(folder: string): void {
  if (isFolder(folder)) return;
  makeFolders(dirname(folder));
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    // Another process may have been first.
    if (!isFolder(folder)) throw error;
  }
}

const isFolder = (path: string) => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

function makeFolder(dataDir: string): void {
  try {
    makeFolders(dataDir);
  } catch (error) {
    throw new UsageError(
      `DATA_DIR=${dataDir} cannot be made (${(error as NodeJS.ErrnoException).code}). Choose a folder that may be written to.`,
      { cause: error },
    );
  }
}

const SQLITE_BUSY = 5;

/** SQLite's exclusive lock is one of the kernel: it goes with the process, also when that is killed. */
function takeLock(dataDir: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(join(dataDir, 'lock.sqlite'));
    database.exec('pragma locking_mode = exclusive; begin exclusive');
    return database;
  } catch (error) {
    database?.close();
    const { errcode, message } = error as { errcode?: number; message: string };
    if (errcode !== SQLITE_BUSY) {
      throw new UsageError(
        `DATA_DIR=${dataDir} cannot be written to (${message}). Is the disk full, or the folder another user's?`,
        { cause: error },
      );
    }
    const run = readJson<RunInfo>(runFile(dataDir));
    const who = run ? `process ${run.pid}${run.url ? ` at ${run.url}` : ''}` : 'another process';
    throw new UsageError(
      `DATA_DIR=${dataDir} is in use by ${who}. Stop it, or give this one its own: DATA_DIR=.data2 PORT=3001 npm start`,
      { cause: error },
    );
  }
}

/** The secrets of the data directory; made where they are missing. */
export function loadSecrets(dataDir: string): LocalSecrets {
  const known = readJson<LocalSecrets>(secretsFile(dataDir));
  if (known) return known;
  const secrets = {
    JWT_SECRET_KEY: randomBytes(48).toString('base64url'),
    ENCRYPTION_KEY: randomBytes(32).toString('base64'),
    POSTGRES_PASSWORD: randomBytes(24).toString('base64url'),
    ADMIN_PASSWORD: randomBytes(15).toString('base64url'),
  };
  writeAtomically(secretsFile(dataDir), secrets);
  return secrets;
}

function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new UsageError(
      `${path} cannot be read: ${(error as Error).message}. Put a good copy back, or move the data directory away to start anew.`,
      { cause: error },
    );
  }
}

function writeAtomically(path: string, value: object): void {
  const temporary = `${path}.${process.pid}`;
  try {
    writeFileSync(temporary, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    throw new UsageError(
      `${path} cannot be written (${(error as NodeJS.ErrnoException).code}). Is the disk full, or the folder read-only?`,
      { cause: error },
    );
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

import { mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorMessage, UsageError } from '../errors.ts';
import {
  CHECKSUMS,
  checksum,
  DUMP,
  isPartial,
  listBackups,
  MANIFEST,
  type Manifest,
  nameOf,
  PARTIAL,
} from './manifest.ts';
import { connectionOf, type Environment, findProgram, majorOf, runProgram } from './programs.ts';
import { createProgress, size } from './progress.ts';
import { appliedMigrations, countRows, JOBS_SCHEMA, listTables, openSession, serverVersion } from './session.ts';

interface Options {
  url: string;
  /** The variable that an operator would look at. */
  source: string;
  /** Where the folder of the backup is made; made itself where it is not there. */
  dir: string;
  /** Of the product. */
  version: string;
  /** How many backups stay in the folder, the newest; all where this is not given. */
  keep?: number | undefined;
  env: Environment;
  /** Breaks it off; nothing of it stays. */
  signal: AbortSignal;
}

/**
 * Writes a backup of the database: a dump in the custom format of pg_dump, what it says of itself, and checksums. Everything
 * in it is of one moment; the database may be in use. The folder has its name only once all of it is on the disk.
 * @throws UsageError where there is no pg_dump that fits, or it fails
 */
export async function makeBackup(options: Options): Promise<{ folder: string; manifest: Manifest }> {
  const { url, source, dir, env, signal } = options;
  const began = new Date();
  const folder = join(dir, nameOf(began));
  const partial = `${folder}${PARTIAL}`;
  const session = await openSession(url, source);
  try {
    const server = await serverVersion(session);
    const program = await findProgram('pg_dump', majorOf(server), env);
    const restorer = await findProgram('pg_restore', majorOf(program.version), env);
    if ((await appliedMigrations(session, await listTables(session))).length === 0)
      throw new UsageError(
        `There is nothing to back up: the product has no schema in this database. Is it the right one? Look at ${source}.`,
      );
    await makeFolder(dir, partial);
    await session.query('begin isolation level repeatable read read only');
    const { rows } = await session.query<{ id: string }>('select pg_export_snapshot() as id');
    const tables = await listTables(session);
    const migrations = await appliedMigrations(session, tables);
    const file = join(partial, DUMP);
    const broken = new AbortController();
    const both = AbortSignal.any([signal, broken.signal]);
    const [counted] = await Promise.all([
      countRows(session, tables),
      dump({ url, env, file, snapshot: rows[0]?.id as string, signal: both, program }),
    ]).catch((error) => {
      broken.abort();
      throw error;
    });
    // What cannot be listed cannot be restored.
    await runProgram(restorer, ['--list', file], { env, signal });
    const manifest: Manifest = {
      format: 1,
      version: options.version,
      made_at: began.toISOString(),
      took_ms: Date.now() - began.getTime(),
      migrations,
      postgres: { server, pg_dump: program.version },
      bytes: (await stat(file)).size,
      rows: counted,
    };
    await seal(partial, manifest);
    await rename(partial, folder);
    await sync(dir);
    if (options.keep) await forget(dir, options.keep);
    return { folder, manifest };
  } catch (error) {
    // What stands in its way is the reason to be told, and not that it cannot be taken away.
    await rm(partial, { recursive: true, force: true }).catch(() => {});
    throw error;
  } finally {
    await session.end();
  }
}

async function makeFolder(dir: string, partial: string): Promise<void> {
  try {
    await mkdir(partial, { recursive: true, mode: 0o700 });
    for (const name of await readdir(dir)) {
      // What a killed run left behind; one that is at work is not so old.
      if (!isPartial(name) || join(dir, name) === partial) continue;
      const { mtimeMs } = await stat(join(dir, name));
      if (Date.now() - mtimeMs > 86_400_000) await rm(join(dir, name), { recursive: true, force: true });
    }
  } catch (error) {
    throw new UsageError(
      `No backup can be written to ${dir} (${errorMessage(error)}). Name another folder with --dir or BACKUP_DIR; in a container, one that is mounted for writing.`,
      { cause: error },
    );
  }
}

async function dump({
  program,
  url,
  snapshot,
  file,
  ...options
}: Pick<Options, 'url' | 'env' | 'signal'> & {
  program: Awaited<ReturnType<typeof findProgram>>;
  snapshot: string;
  file: string;
}): Promise<void> {
  const { dbname, env } = connectionOf(url, options.env);
  const progress = createProgress();
  let table = '';
  const timer = setInterval(async () => {
    const { size: bytes } = await stat(file).catch(() => ({ size: 0 }));
    progress.say(`backing up: ${size(bytes)}${table && `, ${table}`}`);
  }, 200);
  try {
    await runProgram(
      program,
      [
        ...['--format=custom', '--no-owner', '--no-privileges', '--no-password', '--verbose'],
        ...[`--exclude-schema=${JOBS_SCHEMA}`, `--snapshot=${snapshot}`, `--file=${file}`, `--dbname=${dbname}`],
      ],
      {
        env,
        signal: options.signal,
        hear(line) {
          table = /dumping contents of table "(.+)"/.exec(line)?.[1]?.replaceAll('"', '') ?? table;
        },
      },
    );
  } finally {
    clearInterval(timer);
    progress.end();
  }
}

/** Writes the manifest and the checksums, and has everything on the disk. */
async function seal(folder: string, manifest: Manifest): Promise<void> {
  await writeFile(join(folder, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
  const sums: string[] = [];
  for (const name of [DUMP, MANIFEST]) sums.push(`${await checksum(join(folder, name))}  ${name}\n`);
  await writeFile(join(folder, CHECKSUMS), sums.join(''), { mode: 0o600 });
  for (const name of [DUMP, MANIFEST, CHECKSUMS, '']) await sync(join(folder, name));
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
}

async function forget(dir: string, keep: number): Promise<void> {
  for (const name of (await listBackups(dir)).slice(0, -keep)) await rm(join(dir, name), { recursive: true });
}

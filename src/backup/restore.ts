import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { Interrupted, UsageError } from '../errors.ts';
import { DUMP, type Manifest, readBackup } from './manifest.ts';
import { connectionOf, type Environment, findProgram, majorOf, type Program, runProgram } from './programs.ts';
import { createProgress, size } from './progress.ts';
import { countRows, JOBS_SCHEMA, listTables, openSession, serverVersion } from './session.ts';

interface Options {
  url: string;
  /** The variable that an operator would look at. */
  source: string;
  /** The folder of the backup. */
  folder: string;
  /** The migrations that this version knows. */
  known: string[];
  /** Whether what is in the database may go. */
  replace: boolean;
  /** How many tables are filled at a time. */
  jobs?: number | undefined;
  env: Environment;
  signal: AbortSignal;
}

/** Filled last, because a process that starts before everything is there has to find that something is missing. */
const LAST = 'kysely_migration';
/** More than these only wait for each other's disk. */
const MOST_JOBS = 4;

/**
 * Puts a backup into the database, and counts what is there then. What was in it before goes, where that is allowed.
 * @throws UsageError where the backup is not whole or too new, the database is not empty or in use, or a program fails
 */
export async function restoreBackup(options: Options): Promise<Manifest> {
  const { url, source, folder, env, signal } = options;
  const manifest = await readBackup(folder);
  const unknown = manifest.migrations.filter((name) => !options.known.includes(name));
  if (unknown.length > 0)
    throw new UsageError(
      `This backup was made by version ${manifest.version}, whose schema is newer (${unknown.join(', ')}). Restore it with that version.`,
    );
  const session = await openSession(url, source);
  let touched = false;
  try {
    const server = await serverVersion(session);
    if (majorOf(server) < majorOf(manifest.postgres.server))
      throw new UsageError(
        `This is a backup of Postgres ${manifest.postgres.server}, and the server is ${server}: restore it into that version or a newer one.`,
      );
    const program = await findProgram('pg_restore', majorOf(manifest.postgres.pg_dump), env);
    await refuseWhileInUse(session);
    signal.throwIfAborted();
    touched = true;
    await makeRoom(session, options.replace);
    await load({ ...options, program, bytes: manifest.bytes });
    // Else the first statements of all processes would be planned as for empty tables.
    await session.query('analyze');
    await compare(session, manifest);
    return manifest;
  } catch (error) {
    if (signal.aborted)
      throw new Interrupted(
        touched
          ? 'The restore was broken off, and a part of it is there. Run it again with --replace.'
          : 'The restore was broken off; nothing was changed.',
        { cause: error },
      );
    throw error;
  } finally {
    await session.end();
  }
}

async function refuseWhileInUse(session: pg.Client): Promise<void> {
  const { rows } = await session.query<{ name: string; n: number }>(
    `select application_name as name, count(*)::int as n from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and application_name like 'sutazai%' group by 1`,
  );
  if (rows.length === 0) return;
  const who = rows.map(({ name, n }) => `${n} × ${name}`).join(', ');
  throw new UsageError(
    `Processes of the product use this database (${who}). Stop the API and the workers, then run this again; nothing was changed.`,
  );
}

/** @throws UsageError where something is there and nobody said that it may go */
async function makeRoom(session: pg.Client, replace: boolean): Promise<void> {
  const tables = await listTables(session);
  if (tables.length > 0 && !replace) {
    const users = tables.includes('users') ? (await countRows(session, ['users'])).users : 0;
    const { rows } = await session.query<{ name: string }>('select current_database() as name');
    throw new UsageError(
      `The database ${rows[0]?.name} is not empty (${tables.length} tables, ${users} users). Name another one, or say --replace: what is in it is lost then. A backup of it first is \`sutazai backup\`.`,
    );
  }
  await session.query(`drop schema if exists ${JOBS_SCHEMA} cascade`);
  if (tables.length > 0)
    await session.query(`drop table ${tables.map((name) => `public.${pg.escapeIdentifier(name)}`).join(', ')} cascade`);
  await session.query(`do $$ declare one record; begin
    for one in select oid::regprocedure as name from pg_proc where pronamespace = 'public'::regnamespace
      and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
    loop execute format('drop routine if exists %s cascade', one.name); end loop;
  end $$`);
}

async function load({
  program,
  bytes,
  url,
  folder,
  jobs = Math.min(availableParallelism(), MOST_JOBS),
  ...options
}: Options & { program: Program; bytes: number }): Promise<void> {
  const file = join(folder, DUMP);
  const { dbname, env } = connectionOf(url, options.env);
  const contents = await runProgram(program, ['--list', file], options);
  const isLast = (line: string) => line.includes(` TABLE DATA public ${LAST} `);
  const total = contents.filter((line) => /^\d/.test(line)).length;
  const lists = await mkdtemp(join(tmpdir(), 'sutazai-restore-'));
  const progress = createProgress();
  let done = 0;
  try {
    const parts = [contents.filter((line) => !isLast(line)), contents.filter(isLast)];
    for (const [index, lines] of parts.entries()) {
      const list = join(lists, String(index));
      await writeFile(list, lines.join('\n'));
      await runProgram(
        program,
        [
          ...['--exit-on-error', '--no-owner', '--no-privileges', '--no-password', '--verbose', `--jobs=${jobs}`],
          ...[`--use-list=${list}`, `--dbname=${dbname}`, file],
        ],
        {
          env,
          signal: options.signal,
          hear(line) {
            const item = /(?:creating|processing data for) (.+)/.exec(line)?.[1]?.replaceAll('"', '');
            if (item) progress.say(`restoring ${size(bytes)}: ${++done} of ${total}, ${item}`);
          },
        },
      );
    }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${error.message}\nA part of the backup is there. Run this again with --replace.`, {
      cause: error,
    });
  } finally {
    progress.end();
    await rm(lists, { recursive: true, force: true });
  }
}

async function compare(session: pg.Client, { rows: wanted }: Manifest): Promise<void> {
  const found = await countRows(session, await listTables(session));
  const wrong = Object.keys({ ...wanted, ...found }).filter((table) => wanted[table] !== found[table]);
  if (wrong.length > 0)
    throw new UsageError(
      `After the restore these tables do not have the rows that the backup counted: ${wrong.map((table) => `${table} (${found[table]} of ${wanted[table]})`).join(', ')}.`,
    );
}

import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type Kysely, sql } from 'kysely';
import { type Migration, type MigrationResultSet, Migrator } from 'kysely/migration';
import pg from 'pg';
import { errorMessage, UsageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { createDb, type Db } from './connect.ts';

/** A migration file: `transactional = false` for what Postgres refuses inside a transaction. */
type MigrationModule = Migration & { transactional?: boolean };

const FOLDER = new URL('../../migrations/', import.meta.url);
/** Spells `suta`; one number for every process that migrates this database. */
const ADVISORY_LOCK = 0x73757461;
/** A statement that waits longer for a table gives up, so that readers never queue behind it. */
const LOCK_TIMEOUT = '1500ms';
const LOCK_NOT_AVAILABLE = '55P03';
const INSUFFICIENT_PRIVILEGE = '42501';

/** Where the schema stands. */
export interface MigrationStatus {
  name: string;
  appliedAt: Date | undefined;
}

interface Options {
  db: Db;
  pool: pg.Pool;
  log: Logger;
  /** Where the migration files are; the repository's own by default. */
  folder?: URL;
  /** How often a migration is tried again when a table stays locked. */
  lockRetries?: number;
  /** Breaks it off: what is applied stays, and the statement that runs is ended. */
  signal?: AbortSignal;
}

/** Lists every migration, oldest first. */
export async function migrationStatus(options: Options): Promise<MigrationStatus[]> {
  const { migrator } = await prepare(options);
  const all = await migrator.getMigrations();
  return all.map(({ name, executedAt }) => ({ name, appliedAt: executedAt }));
}

/** Applies what is pending, one by one, each with its own commit. Any number of processes may call it at once. */
export async function migrateUp(options: Options): Promise<string[]> {
  return locked(options, async (db) => {
    const applied: string[] = [];
    for (;;) {
      const next = (await migrationStatus(options)).find(({ appliedAt }) => !appliedAt);
      if (!next) return applied;
      const { migrator, modules } = await prepare({ ...options, db });
      await step(options, modules, next.name, (disableTransactions) => migrator.migrateUp({ disableTransactions }));
      options.log.info({ migration: next.name }, `migrated up: ${next.name}`);
      applied.push(next.name);
    }
  });
}

/** Takes the newest migration back and returns its name, or `undefined` when there is none. */
export async function migrateDown(options: Options): Promise<string | undefined> {
  return locked(options, async (db) => {
    const last = (await migrationStatus(options)).filter(({ appliedAt }) => appliedAt).at(-1);
    if (!last) return undefined;
    const { migrator, modules } = await prepare({ ...options, db });
    await step(options, modules, last.name, (disableTransactions) => migrator.migrateDown({ disableTransactions }));
    options.log.info({ migration: last.name }, `migrated down: ${last.name}`);
    return last.name;
  });
}

async function prepare({ db, folder = FOLDER }: Options) {
  const modules = new Map<string, MigrationModule>();
  for (const file of (await readdir(folder)).filter((name) => name.endsWith('.ts')).sort()) {
    modules.set(file.slice(0, -3), await import(fileURLToPath(new URL(file, folder))));
  }
  const provider = {
    getMigrations: async () => Object.fromEntries([...modules].map(([name, m]) => [name, limited(m)])),
  };
  return { migrator: new Migrator({ db, provider }), modules };
}

function limited(module: MigrationModule): Migration {
  const bounded = (run: (db: Kysely<never>) => Promise<void>) => async (db: Kysely<never>) => {
    // Local to the transaction where there is one; without one it stays with the connection until it is taken back.
    await sql`select set_config('lock_timeout', ${LOCK_TIMEOUT}, ${module.transactional !== false})`.execute(db);
    try {
      await run(db);
    } finally {
      if (module.transactional === false) await sql`reset lock_timeout`.execute(db);
    }
  };
  return { up: bounded(module.up), ...(module.down ? { down: bounded(module.down) } : {}) };
}

async function step(
  { log, lockRetries = 20, signal }: Options,
  modules: ReadonlyMap<string, MigrationModule>,
  name: string,
  run: (disableTransactions: boolean) => Promise<MigrationResultSet>,
): Promise<void> {
  for (let left = lockRetries; ; left--) {
    signal?.throwIfAborted();
    const { error } = await run(modules.get(name)?.transactional === false);
    if (!error) return;
    const { code } = error as { code?: string };
    if (code === INSUFFICIENT_PRIVILEGE)
      throw new UsageError(
        `The user of the database may not change its schema (${errorMessage(error)}). Let a superuser make it the owner, with \`alter database … owner to …\` and \`alter schema public owner to …\`, then run this again.`,
        { cause: error },
      );
    if (code !== LOCK_NOT_AVAILABLE) throw error;
    if (left === 0)
      throw new UsageError(
        `The migration ${name} did not get a table that it changes, because others use it all the time. \`select pid, state, query from pg_stat_activity\` shows them: end what stands there, or try again when less is going on.`,
        { cause: error },
      );
    log.warn(`a table that the migration needs is in use; trying again (${left} left)`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/**
 * Runs `work` alone among all processes. The lock is polled: a session that waited inside `pg_advisory_lock` would hold
 * a snapshot, which `create index concurrently` of the other process waits for, and both would stand still.
 */
async function locked<T>({ pool, log, signal }: Options, work: (db: Db) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  // An index of a large table takes longer than any statement of ours elsewhere may, and is not cut off with those of the pool.
  const patience = { query_timeout: undefined, statement_timeout: undefined, stream: undefined };
  const patient = new pg.Pool({ ...pool.options, ...patience, max: 2 });
  const sessions = new Set<number>();
  patient.on('error', (error) => {
    if (!signal?.aborted) log.warn({ err: error }, 'the connection of the migration broke');
  });
  patient.on('connect', (session) => {
    // One that breaks in the middle of a statement emits on itself, and an unheard error event would end the process.
    session.on('error', () => {});
    sessions.add((session as unknown as { processID: number }).processID);
  });
  const stop = () => void endSessions(pool, [...sessions]);
  signal?.addEventListener('abort', stop);
  const db = createDb(patient);
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { rows } = await client.query<{ got: boolean }>('select pg_try_advisory_lock($1) as got', [ADVISORY_LOCK]);
      if (rows[0]?.got) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return await work(db);
  } finally {
    signal?.removeEventListener('abort', stop);
    await db.destroy();
    // Destroying the connection frees the lock, also where it is broken already.
    client.release(true);
  }
}

/** The server would go on with a statement whose client is gone, and an index of a large table takes hours. */
async function endSessions(pool: pg.Pool, pids: number[]): Promise<void> {
  await pool.query('select pg_terminate_backend(pid) from unnest($1::int[]) as pid', [pids]).catch(() => {});
}

import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type Kysely, sql } from 'kysely';
import { type Migration, type MigrationResultSet, Migrator } from 'kysely/migration';
import pg from 'pg';
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
      await step(options, modules.get(next.name), (disableTransactions) => migrator.migrateUp({ disableTransactions }));
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
    await step(options, modules.get(last.name), (disableTransactions) => migrator.migrateDown({ disableTransactions }));
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
  { log, lockRetries = 20 }: Options,
  module: MigrationModule | undefined,
  run: (disableTransactions: boolean) => Promise<MigrationResultSet>,
): Promise<void> {
  for (let left = lockRetries; ; left--) {
    const { error } = await run(module?.transactional === false);
    if (!error) return;
    if ((error as { code?: string }).code !== LOCK_NOT_AVAILABLE || left === 0) throw error;
    log.warn(`a table that the migration needs is in use; trying again (${left} left)`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/**
 * Runs `work` alone among all processes. The lock is polled: a session that waited inside `pg_advisory_lock` would hold
 * a snapshot, which `create index concurrently` of the other process waits for, and both would stand still.
 */
async function locked<T>({ pool, log }: Options, work: (db: Db) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  // An index of a large table takes longer than any statement of ours elsewhere may, and is not cut off with those of the pool.
  const patience = { query_timeout: undefined, statement_timeout: undefined, stream: undefined };
  const patient = new pg.Pool({ ...pool.options, ...patience, max: 2 });
  patient.on('error', (error) => log.warn({ err: error }, 'the connection of the migration broke'));
  const db = createDb(patient);
  try {
    for (;;) {
      const { rows } = await client.query<{ got: boolean }>('select pg_try_advisory_lock($1) as got', [ADVISORY_LOCK]);
      if (rows[0]?.got) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return await work(db);
  } finally {
    await db.destroy();
    // Destroying the connection frees the lock, also where it is broken already.
    client.release(true);
  }
}

import { join } from 'node:path';
import { findPostgres } from '../../scripts/programs.mjs';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { createLog } from '../../src/log.ts';

/** Where the programs are; backups are tried with these, because the Postgres from npm has no `pg_dump`. */
export const POSTGRES_FOLDER: string | undefined = findPostgres();
const MISSING = 'No Postgres with its pg_dump is here: apt-get install postgresql';
if (!POSTGRES_FOLDER) {
  if (process.env.CI) throw new Error(`${MISSING}; in CI nothing is left out`);
  console.warn(`${MISSING}. What needs it is left out.`);
}

/** Starts it, on an empty cluster where there is none. */
export async function startDebianPostgres(dataDir: string): Promise<EmbeddedPostgres> {
  if (!POSTGRES_FOLDER) throw new Error(MISSING);
  const [initdb, postgres, pg_ctl] = ['initdb', 'postgres', 'pg_ctl'].map((name) => join(POSTGRES_FOLDER, name)) as [
    string,
    string,
    string,
  ];
  return startPostgres({
    dataDir,
    password: 'test',
    log: createLog('silent'),
    binaries: { initdb, postgres, pg_ctl },
    settings: { fsync: 'off', full_page_writes: 'off' },
  });
}

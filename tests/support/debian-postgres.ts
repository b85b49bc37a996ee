import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { createLog } from '../../src/log.ts';

const ROOT = '/usr/lib/postgresql';

/** Where Debian keeps the newest Postgres that has its server and its `pg_dump`; what npm brings has no `pg_dump`. */
function findFolder(): string {
  const versions = existsSync(ROOT) ? readdirSync(ROOT).sort((a, b) => Number(b) - Number(a)) : [];
  const found = versions
    .map((version) => join(ROOT, version, 'bin'))
    .find((folder) => ['initdb', 'postgres', 'pg_dump', 'pg_restore'].every((name) => existsSync(join(folder, name))));
  if (!found)
    throw new Error(
      'The tests of backups want a Postgres with its pg_dump: `apt-get install postgresql`, as .ci/run does.',
    );
  return found;
}

/** Starts it on an empty cluster. */
export async function startDebianPostgres(dataDir: string): Promise<EmbeddedPostgres> {
  const folder = findFolder();
  const binaries = {
    initdb: join(folder, 'initdb'),
    postgres: join(folder, 'postgres'),
    pg_ctl: join(folder, 'pg_ctl'),
  };
  return startPostgres({
    dataDir,
    password: 'test',
    log: createLog('silent'),
    binaries,
    settings: { fsync: 'off', full_page_writes: 'off' },
  });
}

import type pg from 'pg';
import { loadConfig, readDotEnv } from './config.ts';
import { checkDatabase, createDb, createPool, type Db } from './db/connect.ts';
import { migrateDown, migrateUp, migrationStatus } from './db/migrate.ts';
import { UsageError } from './errors.ts';
import { createStack } from './lifecycle.ts';
import { createLog, type Logger } from './log.ts';
import { migrateQueueBackend } from './queues/backend.ts';
import { migrationDatabase } from './services.ts';

/** `sutazai migrate status|up|down`, on the configured database or the embedded one. */
export async function migrate(verb: 'status' | 'up' | 'down'): Promise<void> {
  readDotEnv();
  const config = loadConfig(undefined, { databaseAlone: true });
  const log = createLog(config.logLevel, { format: config.logFormat });
  const stack = createStack(log);
  try {
    const { url, source } = await migrationDatabase(config, stack, log);
    const pool = createPool({ url, max: 3, name: 'sutazai:migrate', log });
    const db = createDb(pool);
    stack.defer('the database pool', () => db.destroy());
    await checkDatabase(pool, source);

    if (verb === 'up') {
      const applied = await migrateUp({ db, pool, log });
      await migrateQueueBackend({ kind: config.queue.backend }, pool);
      console.log(applied.length > 0 ? `applied ${applied.join(', ')}` : 'nothing to apply: the schema is up to date');
    } else if (verb === 'down') {
      const reverted = await migrateDown({ db, pool, log });
      console.log(reverted ? `took back ${reverted}` : 'nothing to take back: the schema is empty');
    } else {
      for (const { name, appliedAt } of await migrationStatus({ db, pool, log })) {
        console.log(`${appliedAt ? appliedAt.toISOString() : 'pending'.padEnd(24)}  ${name}`);
      }
    }
  } finally {
    await stack.close();
  }
}

/** Brings the schema up to date where that is this process' to do. @throws UsageError where it is not, and something is missing */
export async function bringSchema(
  mayMigrate: boolean,
  { kind, ...options }: { db: Db; pool: pg.Pool; log: Logger; kind: 'redis' | 'postgres' },
): Promise<void> {
  if (mayMigrate) {
    await migrateUp(options);
    return migrateQueueBackend({ kind }, options.pool);
  }
  const pending = (await migrationStatus(options)).filter(({ appliedAt }) => !appliedAt);
  if (pending.length > 0)
    throw new UsageError(
      `The database lacks ${pending.length} migrations (${pending.map(({ name }) => name).join(', ')}). Run \`sutazai migrate up\` first.`,
    );
}

import { loadConfig, readDotEnv } from './config.ts';
import { checkDatabase, createDb, createPool } from './db/connect.ts';
import { migrateDown, migrateUp, migrationStatus } from './db/migrate.ts';
import { createStack } from './lifecycle.ts';
import { createLog } from './log.ts';
import { migrateQueueBackend } from './queues/backend.ts';
import { migrationDatabase } from './services.ts';

/** `sutazai migrate status|up|down`, on the configured database or the embedded one. */
export async function migrate(verb: 'status' | 'up' | 'down'): Promise<void> {
  readDotEnv();
  const config = loadConfig(undefined, { databaseAlone: true });
  const log = createLog(config.logLevel);
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

import type pg from 'pg';
import { backUpBeforeMigrating } from './backup-command.ts';
import { type Config, loadConfig, readDotEnv } from './config.ts';
import { currentUrl, type DatabaseAddress } from './db/address.ts';
import { checkDatabase, createDb, createPool, type Db } from './db/connect.ts';
import { migrateDown, migrateUp, migrationStatus } from './db/migrate.ts';
import { UsageError } from './errors.ts';
import { createStack, interruptible, type Stack } from './lifecycle.ts';
import { createLog, type Logger } from './log.ts';
import { migrateQueueBackend } from './queues/backend.ts';
import { migrationDatabase } from './services.ts';

type Env = Record<string, string | undefined>;

type Verb = 'status' | 'up' | 'down';

const BROKEN_OFF =
  'The command was broken off. `sutazai migrate status` shows which migrations are applied, `sutazai migrate up` goes on with the others.';

/**
 * `sutazai migrate status|up|down`, on the configured database or the embedded one.
 * @param backup whether production makes a backup before the schema is changed
 */
export async function migrate(verb: Verb, env: Env, { backup = true } = {}): Promise<void> {
  readDotEnv();
  const config = loadConfig(env, { databaseAlone: true });
  const log = createLog(config.logLevel, { format: config.logFormat });
  const stack = createStack(log);
  await interruptible(BROKEN_OFF, async (signal) => {
    try {
      await work(verb, { config, env, stack, log, signal, backup });
    } finally {
      await stack.close();
    }
  });
}

interface Given {
  config: Config;
  env: Env;
  stack: Stack;
  log: Logger;
  signal: AbortSignal;
  backup: boolean;
}

async function work(verb: Verb, { config, env, stack, log, signal, backup }: Given): Promise<void> {
  const { url, source } = await migrationDatabase(config, stack, log);
  signal.throwIfAborted();
  const pool = createPool({ url, max: 3, name: 'sutazai:migrate', log });
  const db = createDb(pool);
  stack.defer('the database pool', () => db.destroy());
  await checkDatabase(pool, source);

  if (verb === 'up') {
    if (backup) await keepWhatIsThere({ db, pool, log }, { url, source, config, env, signal });
    const applied = await migrateUp({ db, pool, log, signal });
    await migrateQueueBackend({ kind: config.queue.backend }, pool);
    console.log(applied.length > 0 ? `applied ${applied.join(', ')}` : 'nothing to apply: the schema is up to date');
  } else if (verb === 'down') {
    const reverted = await migrateDown({ db, pool, log, signal });
    console.log(reverted ? `took back ${reverted}` : 'nothing to take back: the schema is empty');
  } else {
    for (const { name, appliedAt } of await migrationStatus({ db, pool, log })) {
      console.log(`${appliedAt ? appliedAt.toISOString() : 'pending'.padEnd(24)}  ${name}`);
    }
  }
}

interface Connected {
  db: Db;
  pool: pg.Pool;
  log: Logger;
}

/** In production, a backup of a database that holds something and is about to be changed. */
async function keepWhatIsThere(
  connected: Connected,
  { url, ...where }: { url: DatabaseAddress; source: string } & Pick<Given, 'config' | 'env' | 'signal'>,
): Promise<void> {
  if (where.config.production && (await willChangeData(connected)))
    await backUpBeforeMigrating({ ...where, url: currentUrl(url) });
}

/** Whether something is pending on a schema that is there already. */
async function willChangeData(connected: Connected): Promise<boolean> {
  const status = await migrationStatus(connected);
  const applied = status.filter(({ appliedAt }) => appliedAt).length;
  return applied > 0 && applied < status.length;
}

/**
 * Brings the schema up to date where that is this process' to do.
 * @throws UsageError where it is not, and something is missing, and in production where there is something to lose
 */
export async function bringSchema(
  mayMigrate: boolean,
  { config, ...connected }: Connected & { config: Config },
): Promise<void> {
  if (mayMigrate && !(config.production && (await willChangeData(connected)))) {
    await migrateUp(connected);
    return migrateQueueBackend({ kind: config.queue.backend }, connected.pool);
  }
  const pending = (await migrationStatus(connected)).filter(({ appliedAt }) => !appliedAt);
  if (pending.length > 0)
    throw new UsageError(
      `The database lacks ${pending.length} migrations (${pending.map(({ name }) => name).join(', ')}). Run \`sutazai migrate up\` first.`,
    );
}

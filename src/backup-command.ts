import { join, resolve } from 'node:path';
import { makeBackup } from './backup/dump.ts';
import { listBackups } from './backup/manifest.ts';
import type { Environment } from './backup/programs.ts';
import { size } from './backup/progress.ts';
import { restoreBackup } from './backup/restore.ts';
import { type Config, loadConfig, readDotEnv } from './config.ts';
import { whereTyped } from './config-client.ts';
import { currentUrl } from './db/address.ts';
import { checkDatabase, createDb, createPool, type Db } from './db/connect.ts';
import { migrateUp, migrationStatus } from './db/migrate.ts';
import { listSigningKeys } from './db/signing-keys.ts';
import { errorMessage, UsageError } from './errors.ts';
import { createStack, interruptible, type Stack } from './lifecycle.ts';
import { createLog, type Logger } from './log.ts';
import { migrateQueueBackend, openQueueBackend } from './queues/backend.ts';
import { createSecretBox, type SecretBox } from './secretbox.ts';
import { migrationDatabase } from './services.ts';
import { VERSION } from './version.ts';

const DEFAULT_DIR = 'backups';
const BACKUP_BROKEN_OFF = 'The backup was broken off; nothing of it is left.';
const RESTORE_BROKEN_OFF =
  'The restore was broken off. Run it again, with --replace where a part of the backup is there already.';

interface Where {
  config: Config;
  env: Environment;
  stack: Stack;
  log: Logger;
  signal: AbortSignal;
}

/** `sutazai backup`: a backup of the database into a folder of its own. */
export async function backup({ dir, keep }: { dir?: string; keep?: number }, env: Environment): Promise<void> {
  await command(env, BACKUP_BROKEN_OFF, async (where) => {
    const { url, source } = await migrationDatabase(where.config, where.stack, where.log);
    const into = folderOf(dir, where);
    await report(makeBackup({ ...where, url: currentUrl(url), source, dir: into, version: VERSION, keep }));
  });
}

/** Makes one where a migration is about to change a database that holds something. @throws UsageError where nobody said where to */
export async function backUpBeforeMigrating({
  config,
  ...where
}: { url: string; source: string } & Pick<Where, 'config' | 'env' | 'signal'>): Promise<void> {
  if (!config.backupDir)
    throw new UsageError(
      'In production a backup is made before the schema is changed, and BACKUP_DIR does not say where to. Set it (docs/backup.md), or run `sutazai migrate up --no-backup` where the database has snapshots or a point-in-time recovery of its own.',
    );
  await report(makeBackup({ ...where, dir: resolve(config.backupDir), version: VERSION }));
}

/** A folder that was typed is one of where it was typed, another one of where the settings are. */
function folderOf(dir: string | undefined, { config, env }: Pick<Where, 'config' | 'env'>): string {
  return dir ? whereTyped(dir, env) : resolve(config.backupDir ?? DEFAULT_DIR);
}

async function report(making: ReturnType<typeof makeBackup>): Promise<void> {
  const { folder, manifest } = await making;
  const rows = Object.values(manifest.rows).reduce((sum, count) => sum + count, 0);
  console.log(`backed up ${rows} rows as ${size(manifest.bytes)} in ${seconds(manifest.took_ms)}: ${folder}`);
}

/** `sutazai restore`: puts a backup into the database, brings its schema up, and has all jobs made again. */
export async function restore(
  given: string | undefined,
  { dir, replace = false, jobs }: { dir?: string; replace?: boolean; jobs?: number },
  env: Environment,
): Promise<void> {
  await command(env, RESTORE_BROKEN_OFF, async (where) => {
    const { config, stack, log } = where;
    const began = Date.now();
    const folder = given ? whereTyped(given, env) : await newest(folderOf(dir, where));
    const { url, source } = await migrationDatabase(config, stack, log);
    // Not a name of the product, whose processes have to be gone.
    const pool = createPool({ url, max: 3, name: 'restore', log });
    const db = createDb(pool);
    stack.defer('the database pool', () => db.destroy());
    await checkDatabase(pool, source);
    const known = (await migrationStatus({ db, pool, log })).map(({ name }) => name);
    const manifest = await restoreBackup({ ...where, url: currentUrl(url), source, folder, known, replace, jobs });

    const applied = await migrateUp({ db, pool, log, signal: where.signal });
    await migrateQueueBackend({ kind: config.queue.backend }, pool);
    console.log(
      `restored ${folder}, made at ${manifest.made_at}, in ${seconds(Date.now() - began)}${applied.length > 0 ? `; applied ${applied.join(', ')}` : ''}`,
    );
    await forgetJobs(where, currentUrl(url));
    if (config.encryptionKey && !(await opens(createSecretBox(config.encryptionKey, config.otherEncryptionKeys), db))) {
      console.error(
        'ENCRYPTION_KEY does not open what is sealed in this backup: start nothing before it is the key of that time, or all sessions end and the secrets of webhooks and agents are lost.',
      );
      process.exitCode = 1;
    } else console.log('Start the API and the workers now: waiting tasks get their jobs by themselves.');
  });
}

async function newest(dir: string): Promise<string> {
  const name = (await listBackups(dir)).at(-1);
  if (!name) throw new UsageError(`There is no backup in ${dir}. Name one: \`sutazai restore <folder>\`.`);
  return join(dir, name);
}

/** Jobs of the time after the backup may still be there; whoever leads the reconciler next compares all of them with the rows. */
async function forgetJobs({ config, log }: Where, databaseUrl: string): Promise<void> {
  const { backend: kind, redisUrl, redis, prefix } = config.queue;
  if (kind !== 'redis') return;
  try {
    const backend = await openQueueBackend({ kind, redisUrl, redis, databaseUrl, prefix, workers: 0, log });
    await backend.clearEpoch().finally(() => backend.close());
  } catch (error) {
    console.error(
      `${errorMessage(error)} The restore goes on without it: an empty Redis is filled again all the same.`,
    );
  }
}

/** Whether the signing keys can be opened; `true` where there are none. */
async function opens(box: SecretBox, db: Db): Promise<boolean> {
  try {
    for (const { secret } of await listSigningKeys(db)) box.open(secret);
    return true;
  } catch {
    return false;
  }
}

async function command(env: Environment, brokenOff: string, work: (where: Where) => Promise<void>): Promise<void> {
  readDotEnv();
  const config = loadConfig(env, { databaseAlone: true });
  const log = createLog(config.logLevel, { format: config.logFormat });
  const stack = createStack(log);
  await interruptible(brokenOff, async (signal) => {
    try {
      await work({ config, env, stack, log, signal });
    } finally {
      await stack.close();
    }
  });
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

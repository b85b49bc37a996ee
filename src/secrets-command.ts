import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { overlapOf, rotateSigningKey } from './api/auth/signing-keys.ts';
import { type Config, loadConfig, readDotEnv } from './config.ts';
import { checkDatabase, createDb, createPool } from './db/connect.ts';
import { findRun, loadSecrets } from './embedded/home.ts';
import { UsageError } from './errors.ts';
import { createStack } from './lifecycle.ts';
import { createLog } from './log.ts';
import { createSecretBox } from './secretbox.ts';

const GENERATE = fileURLToPath(new URL('../scripts/generate_secrets.sh', import.meta.url));

/** `sutazai secrets generate`: the script, which hosts without Node have as well. */
export function generate({ dir, force = false }: { dir: string; force?: boolean }): void {
  const { status, error } = spawnSync('sh', [GENERATE, '--dir', resolve(dir), ...(force ? ['--force'] : [])], {
    stdio: 'inherit',
  });
  if (error) throw new UsageError(`scripts/generate_secrets.sh cannot be run: ${error.message}`, { cause: error });
  process.exitCode = status ?? 1;
}

/**
 * `sutazai secrets rotate jwt`: JWT_SECRET_KEY, or a random key where none is configured or `random` says so, signs access
 * tokens from now on, in every running process. With `atOnce` what was signed before is dead at once.
 */
export async function rotateJwt({ random = false, atOnce = false }): Promise<void> {
  readDotEnv();
  const config = loadConfig(undefined, { databaseAlone: true });
  const { databaseUrl, source, encryptionKey } = whereSecretsAre(config);
  const log = createLog(config.logLevel);
  const stack = createStack(log);
  try {
    const pool = createPool({ url: databaseUrl, max: 1, name: 'sutazai:secrets', log });
    const db = createDb(pool);
    stack.defer('the database pool', () => db.destroy());
    await checkDatabase(pool, source);
    const overlapSeconds = atOnce ? 0 : overlapOf(config.auth);
    const kid = await rotateSigningKey(
      { db, box: createSecretBox(encryptionKey), overlapSeconds },
      random ? undefined : config.auth.secret,
    );
    const before = atOnce ? 'are dead' : `are taken for ${Math.ceil(overlapSeconds / 60)} minutes more`;
    console.log(`the key ${kid} signs access tokens from now on; those that were signed before ${before}`);
  } finally {
    await stack.close();
  }
}

/** The configured database and encryption key, or those of a `sutazai start` on this machine. */
function whereSecretsAre({ database, encryptionKey, dataDir }: Config) {
  const run = findRun(dataDir);
  const found = {
    databaseUrl: database.address ?? run?.databaseUrl,
    source: database.url ? 'DATABASE_URL (or POSTGRES_*)' : 'the embedded Postgres',
    encryptionKey: encryptionKey ?? (run && loadSecrets(dataDir).ENCRYPTION_KEY),
  };
  if (!found.databaseUrl || !found.encryptionKey)
    throw new UsageError(
      `DATABASE_URL and ENCRYPTION_KEY are wanted, the same as those of the API; or a \`sutazai start\` that runs on ${dataDir}.`,
    );
  return { ...found, databaseUrl: found.databaseUrl, encryptionKey: found.encryptionKey };
}

import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { overlapOf, rotateSigningKey } from './api/auth/signing-keys.ts';
import { type Config, loadConfig, readDotEnv } from './config.ts';
import { whereTyped } from './config-client.ts';
import { checkDatabase, createDb, createPool, type Db } from './db/connect.ts';
import { resealAll } from './db/sealed.ts';
import { findRun, loadSecrets } from './embedded/home.ts';
import { UsageError } from './errors.ts';
import { createStack } from './lifecycle.ts';
import { createLog } from './log.ts';
import { createSecretBox, type SecretBox } from './secretbox.ts';

const GENERATE = fileURLToPath(new URL('../scripts/generate_secrets.sh', import.meta.url));

/** `sutazai secrets generate`: the script, which hosts without Node have as well. */
export function generate(
  { dir, force = false }: { dir?: string; force?: boolean },
  env: Record<string, string | undefined>,
): void {
  const into = dir ? whereTyped(dir, env) : resolve('secrets');
  const { status, error } = spawnSync('sh', [GENERATE, '--dir', into, ...(force ? ['--force'] : [])], {
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
  await withDatabase(async ({ db, box, config }) => {
    const overlapSeconds = atOnce ? 0 : overlapOf(config.auth);
    const kid = await rotateSigningKey({ db, box, overlapSeconds }, random ? undefined : config.auth.secret);
    const before = atOnce ? 'are dead' : `are taken for ${Math.ceil(overlapSeconds / 60)} minutes more`;
    console.log(`the key ${kid} signs access tokens from now on; those that were signed before ${before}`);
  });
}

/** What somebody is at is tried again so often, so long after. */
const PASSES = 20;
const AGAIN_MS = 250;

/**
 * `sutazai secrets rotate encryption`: what is sealed with ENCRYPTION_KEY_PREVIOUS, or bears the name of no key, is sealed with
 * ENCRYPTION_KEY, while everything runs. Of a process that still seals with another key it only knows what that seals meanwhile.
 * @throws UsageError where some values open with neither, or others go on being sealed with another key
 */
export async function rotateEncryption(): Promise<void> {
  await withDatabase(async ({ db, box, config }) => {
    const reseal = (sealed: Buffer) => {
      try {
        return box.seal(box.open(sealed));
      } catch {
        return undefined;
      }
    };
    let [done, pass] = [0, await resealAll(db, box.mark, reseal)];
    for (let passes = 1; pass.done + pass.busy > 0 && passes < PASSES; passes++) {
      done += pass.done;
      if (pass.done === 0) await pause(AGAIN_MS);
      pass = await resealAll(db, box.mark, reseal);
    }
    done += pass.done;
    const sealed = `${done} ${done === 1 ? 'secret was' : 'secrets were'} sealed with the key ${box.mark.toString('hex')}`;
    const lost = [...pass.lost].map(([table, count]) => `${count} in ${table}`);
    if (lost.length > 0)
      throw new UsageError(
        `${sealed}. Others open with neither ENCRYPTION_KEY nor ENCRYPTION_KEY_PREVIOUS: ${lost.join(', ')}. Leave the key in its place that they were sealed with, and run this again with it as ENCRYPTION_KEY_PREVIOUS.`,
      );
    if (pass.done + pass.busy > 0)
      throw new UsageError(
        `${sealed}, and meanwhile others were sealed with another key. Some process still has that one as its ENCRYPTION_KEY: restart it, and run this again.`,
      );
    const days = config.auth.refreshSeconds / 86_400;
    console.log(
      `${sealed}; nothing that is stored is sealed with another one. Leave ENCRYPTION_KEY_PREVIOUS in its place for ${days} days: it knows sessions and addresses to call back at that were given out before. Run this again before it goes: it says 0, unless a process still seals with that one`,
    );
  });
}

/** Works on the configured database, or on that of a `sutazai start` on this machine. */
async function withDatabase(work: (given: { db: Db; box: SecretBox; config: Config }) => Promise<void>): Promise<void> {
  readDotEnv();
  const config = loadConfig(undefined, { databaseAlone: true });
  const { databaseUrl, source, encryptionKey } = whereSecretsAre(config);
  const log = createLog(config.logLevel, { format: config.logFormat });
  const stack = createStack(log);
  try {
    const pool = createPool({ url: databaseUrl, max: 1, name: 'sutazai:secrets', log });
    const db = createDb(pool);
    stack.defer('the database pool', () => db.destroy());
    await checkDatabase(pool, source);
    await work({ db, box: createSecretBox(encryptionKey, config.otherEncryptionKeys), config });
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

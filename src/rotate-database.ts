import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import pg from 'pg';
import { loadConfig, readDotEnv } from './config.ts';
import { currentUrl, isPasswordRefused } from './db/address.ts';
import { errorMessage, UsageError } from './errors.ts';

/** Any number that nothing else locks. */
const LOCK = 7_301_884;

/**
 * `sutazai secrets rotate database`: the user that we log in as gets a random password, and the file that every process reads
 * it from is rewritten. A rotation that was broken off in between is finished.
 * @throws UsageError where the password is in no file, the file cannot be written, or the new password would not be taken
 */
export async function rotateDatabase(): Promise<void> {
  readDotEnv();
  const { database } = loadConfig(undefined, { databaseAlone: true });
  const { file, address } = database;
  if (!file || !address)
    throw new UsageError(
      'The password of the database is in no file, and an environment changes with a restart only. Give it to every process as DATABASE_URL_FILE or POSTGRES_PASSWORD_FILE, and to this command too.',
    );
  // What the database may know already, and the file does not yet.
  const ahead = `${file.path}.next`;
  const finish = (text: string) => {
    overwrite(file.path, text);
    rmSync(ahead, { force: true });
  };

  const unfinished = readIfThere(ahead);
  if (unfinished && (await isTaken(file.urlOf(unfinished)))) {
    finish(unfinished);
    console.log(`${file.path} has the password now that an earlier rotation gave to the database`);
    return;
  }

  const client = await login(currentUrl(address)).catch((error) => {
    if (!isPasswordRefused(error)) throw error;
    throw new UsageError(`Postgres refuses the password in ${file.path}; write the one that is in force into it.`, {
      cause: error,
    });
  });
  try {
    const { rows } = await client.query<{ got: boolean }>('select pg_try_advisory_lock($1) as got', [LOCK]);
    if (!rows[0]?.got) throw new UsageError('Another rotation is under way; nothing was changed.');
    const old = currentUrl(address);
    const before = new pg.Client({ connectionString: old }).password ?? '';
    const password = randomBytes(32).toString('base64url');
    const next = file.holds === 'DATABASE_URL' ? Object.assign(new URL(old), { password }).href : password;
    checkWritable(file.path);
    write(ahead, next);
    const kept = readFileSync(file.path, 'utf8');
    await setPassword(client, password);
    // Nothing comes between the two: whoever opens a connection meanwhile is refused.
    overwrite(file.path, next);
    try {
      await (await login(file.urlOf(next))).end();
    } catch (error) {
      await setPassword(client, before);
      finish(kept);
      throw new UsageError(
        `No login with the new password (${errorMessage(error)}), so the old one is in force again. Does something between here and Postgres, such as a pooler, keep passwords of its own?`,
        { cause: error },
      );
    }
    finish(next);
    console.log(`${client.user} has a new password, and it is in ${file.path}; the old one is refused`);
  } finally {
    await client.end();
  }
}

async function login(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'sutazai:secrets',
    connectionTimeoutMillis: 5_000,
    statement_timeout: 10_000,
  });
  client.on('error', () => {});
  try {
    await client.connect();
    return client;
  } catch (error) {
    if (isPasswordRefused(error)) throw error;
    throw new UsageError(
      `Postgres cannot be used (${errorMessage(error)}). Is the server up, and are host, port, user and database right?`,
      { cause: error },
    );
  }
}

async function isTaken(url: string): Promise<boolean> {
  try {
    await (await login(url)).end();
    return true;
  } catch (error) {
    if (isPasswordRefused(error)) return false;
    throw error;
  }
}

/** As a verifier: the password itself would be in the log of a server that logs such statements. */
async function setPassword(client: pg.Client, password: string): Promise<void> {
  await client.query(`alter role current_user password ${pg.escapeLiteral(scramVerifier(password))}`);
}

/** What Postgres keeps of a password (RFC 5803, with the iterations that it takes itself). */
function scramVerifier(password: string): string {
  const [iterations, salt] = [4096, randomBytes(16)];
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const keyed = (text: string) => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(keyed('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${keyed('Server Key').toString('base64')}`;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cannotWrite(path, error);
  }
}

function checkWritable(path: string): void {
  try {
    closeSync(openSync(path, 'r+'));
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600, flush: true });
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

function cannotWrite(path: string, error: unknown): UsageError {
  return new UsageError(
    `${path} cannot be written (${(error as NodeJS.ErrnoException).code}); nothing was changed. Run this as the user whose file it is, where its folder is not read-only.`,
    { cause: error },
  );
}

/**
 * In place, because a container that the file is mounted into would never see one that took its name. In one write, with blank
 * lines over what is left of the old text, so that no reader finds half of each.
 */
function overwrite(path: string, text: string): void {
  const file = openSync(path, 'r+');
  try {
    writeSync(file, text.padEnd(fstatSync(file).size, '\n'), 0);
    ftruncateSync(file, Buffer.byteLength(text));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

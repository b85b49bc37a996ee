import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, it, vi } from 'vitest';
import { checksum } from '../../src/backup/manifest.ts';
import { findProgram } from '../../src/backup/programs.ts';
import { backup, restore } from '../../src/backup-command.ts';
import { createDb, createPool, type Db } from '../../src/db/connect.ts';
import { migrateDown, migrateUp } from '../../src/db/migrate.ts';
import { addSigningKey } from '../../src/db/signing-keys.ts';
import type { EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { Interrupted } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { migrate } from '../../src/migrate-command.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { POSTGRES_FOLDER, startDebianPostgres } from '../support/debian-postgres.ts';
import { memoryOrDisk } from '../support/memory.ts';
import { ROOT } from '../support/sources.ts';
import { storeUser } from '../support/tasks.ts';

const log = createLog('silent');
const KEY = Buffer.alloc(32, 1).toString('base64');
const withPostgres = it.skipIf(!POSTGRES_FOLDER);
let folder: string;
let postgres: EmbeddedPostgres;
let db: Db;
let connected: { db: Db; pool: ReturnType<typeof createPool>; log: typeof log };
let env: Record<string, string>;
let said: string;

beforeAll(async () => {
  if (!POSTGRES_FOLDER) return;
  folder = mkdtempSync(join(await memoryOrDisk(2 ** 30), 'sutazai-backup-'));
  postgres = await startDebianPostgres(join(folder, 'postgres'));
  const pool = createPool({ url: postgres.url, max: 2, name: 'test', log });
  db = createDb(pool);
  connected = { db, pool, log };
  await migrateUp(connected);
  await storeUser(db);
  await addSigningKey(db, { kid: 'k', secret: createSecretBox(KEY).seal('secret'), overlapSeconds: 0 });
});
afterAll(async () => {
  if (!POSTGRES_FOLDER) return;
  await db.destroy();
  await postgres.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  if (!POSTGRES_FOLDER) return;
  said = '';
  const say = (line: string) => {
    said += `${line}\n`;
  };
  vi.spyOn(console, 'log').mockImplementation(say);
  vi.spyOn(console, 'error').mockImplementation(say);
  const dir = mkdtempSync(join(folder, 'backups-'));
  env = { PATH: process.env.PATH as string, NODE_ENV: 'test', DATABASE_URL: postgres.url, BACKUP_DIR: dir };
  Object.assign(env, { LOG_LEVEL: 'silent', QUEUE_BACKEND: 'postgres', ENCRYPTION_KEY: KEY });
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

const made = () => readdirSync(env.BACKUP_DIR as string).sort();
const last = () => join(env.BACKUP_DIR as string, made().at(-1) as string);
const users = async () => Number((await sql<{ n: string }>`select count(*) as n from users`.execute(db)).rows[0]?.n);

withPostgres(
  'a backup is closed to others, says what is in it, has checksums that sha256sum takes, and the oldest go',
  async () => {
    for (let count = 0; count < 3; count++) await backup({ keep: 2 }, env);
    expect(made()).toHaveLength(2);
    expect(statSync(last()).mode & 0o777).toBe(0o700);
    const sums = readFileSync(join(last(), 'SHA256SUMS'), 'utf8');
    expect(sums).toBe(
      `${await checksum(join(last(), 'database.dump'))}  database.dump\n${await checksum(join(last(), 'manifest.json'))}  manifest.json\n`,
    );
    const manifest = JSON.parse(readFileSync(join(last(), 'manifest.json'), 'utf8'));
    expect(manifest.migrations.length).toBeGreaterThan(20);
    expect(manifest.rows).toMatchObject({ users: 1, tasks: 0, signing_keys: 1 });
    expect(said).toContain(`backed up ${Object.values<number>(manifest.rows).reduce((a, b) => a + b)} rows`);
  },
);

withPostgres('a folder may be named from where it is typed, and what else lies there is left alone', async () => {
  const clone = join(env.BACKUP_DIR as string, 'clone');
  const others = join(clone, 'download.partial');
  const left = join(clone, 'sutazai-20200101T000000000Z.partial');
  for (const dir of [others, left]) {
    mkdirSync(dir, { recursive: true });
    utimesSync(dir, 0, 0);
  }
  // As npm has it, which runs what is typed anywhere in a clone at the root of it.
  const typed = { ...env, npm_lifecycle_event: 'sutazai', npm_package_name: 'sutazai', INIT_CWD: clone };
  await backup({ dir: '.' }, typed);
  await backup({ dir: 'below' }, typed);
  const [first, ...none] = readdirSync(clone).filter((name) => name.startsWith('sutazai-'));
  expect([first, none]).toEqual([expect.stringMatching(/^sutazai-\d{8}T\d{9}Z$/), []]);
  expect([existsSync(others), existsSync(left), readdirSync(join(clone, 'below')).length]).toEqual([true, false, 1]);
  await restore(first, { replace: true }, typed);
  expect(said).toContain(`restored ${join(clone, first as string)}`);

  copyFileSync(join(ROOT, '.gitignore'), join(clone, '.gitignore'));
  const git = (...args: string[]) => execFileSync('git', args, { cwd: clone, encoding: 'utf8' });
  git('init', '--quiet');
  await backup({}, { ...typed, BACKUP_DIR: join(clone, 'backups') });
  expect(git('status', '--short', '--untracked-files=all')).toBe('?? .gitignore\n');
});

withPostgres(
  'a database without a schema is not backed up, because it is probably another one than was meant',
  async () => {
    await expect(backup({}, { ...env, DATABASE_URL: postgres.url.replace(/sutazai$/, 'postgres') })).rejects.toThrow(
      'There is nothing to back up: the product has no schema in this database. Is it the right one? Look at DATABASE_URL',
    );
    expect(made()).toEqual([]);
  },
);

withPostgres('what a signal breaks off before anything is changed changes nothing', async () => {
  await backup({}, env);
  const before = await users();
  for (const [begin, word] of [
    [() => restore(last(), { replace: true }, env), 'nothing was changed'],
    [() => backup({}, env), 'nothing of it is left'],
    [() => migrate('up', env), '`sutazai migrate status` shows'],
  ] as const) {
    const begun = begin();
    process.listeners('SIGINT').at(-1)?.('SIGINT');
    const error = await begun.catch((reason) => reason);
    expect(error).toBeInstanceOf(Interrupted);
    expect(error.message).toContain(word);
  }
  expect([await users(), made().length]).toEqual([before, 1]);
});

withPostgres('what is restored is what was backed up, with what a newer version adds to the schema', async () => {
  const newest = await migrateDown(connected);
  await backup({}, env);
  await storeUser(db);
  await expect(restore(last(), {}, env)).rejects.toThrow('is not empty');
  const worker = createPool({ url: postgres.url, max: 1, name: 'sutazai:worker', log });
  await worker.query('select 1');
  await expect(restore(last(), { replace: true }, env)).rejects.toThrow('(1 × sutazai:worker). Stop the API and');
  await worker.end();
  expect(await users()).toBe(2);
  await restore(last(), { replace: true, jobs: 1 }, env);
  expect(await users()).toBe(1);
  expect(said).toContain(`applied ${newest}`);
  expect(said).toContain('Start the API and the workers now');
  expect(process.exitCode).toBeUndefined();
});

withPostgres(
  'another ENCRYPTION_KEY than that of the backup is noticed before anything is started with it',
  async () => {
    await backup({}, env);
    env.ENCRYPTION_KEY = Buffer.alloc(32, 2).toString('base64');
    await restore(undefined, { replace: true }, env);
    expect(said).toContain('ENCRYPTION_KEY does not open');
    expect(process.exitCode).toBe(1);
  },
);

withPostgres(
  'a backup that was changed, cut off or made by a newer version is refused before anything is touched',
  async () => {
    await backup({}, env);
    const before = await users();
    const refuses = (why: string) => expect(restore(last(), { replace: true }, env)).rejects.toThrow(why);
    const path = (name: string) => join(last(), name);
    const manifest = readFileSync(path('manifest.json'), 'utf8');
    writeFileSync(path('manifest.json'), manifest.replace('0001_initial', '0999_newer'));
    await refuses('manifest.json is not what SHA256SUMS says');
    const dump = `${await checksum(path('database.dump'))}  database.dump\n`;
    writeFileSync(path('SHA256SUMS'), `${dump}${await checksum(path('manifest.json'))}  manifest.json\n`);
    await refuses('whose schema is newer (0999_newer)');
    appendFileSync(path('database.dump'), 'x');
    await refuses('database.dump is not what SHA256SUMS says');
    rmSync(path('database.dump'));
    await refuses('cannot be read: a backup is a folder with');
    env.BACKUP_DIR = join(folder, 'nowhere');
    await expect(restore(undefined, {}, env)).rejects.toThrow('There is no backup in');
    const nowhere = { ...env, DATABASE_URL: 'postgres://x:y@127.0.0.1:1/z' };
    for (const command of [restore('/nowhere', {}, nowhere), backup({}, nowhere)])
      await expect(command).rejects.toThrow(/cannot be (used|reached).*DATABASE_URL/);
    expect(await users()).toBe(before);
  },
);

withPostgres(
  'production makes a backup before it changes a schema that holds something, or is told that there is no need',
  async () => {
    env.NODE_ENV = 'production';
    const { BACKUP_DIR, ...without } = env;
    await migrate('up', without);
    expect(said).toContain('nothing to apply');
    const newest = (await migrateDown(connected)) as string;
    await expect(migrate('up', without)).rejects.toThrow('BACKUP_DIR does not say where to');
    await expect(migrate('up', { ...env, BACKUP_DIR: '/dev/null/backups' })).rejects.toThrow(
      'No backup can be written to',
    );
    await migrate('up', env);
    expect(said).toMatch(new RegExp(`backed up \\d+ rows[^]*applied ${newest}`));
    expect(JSON.parse(readFileSync(join(last(), 'manifest.json'), 'utf8')).migrations).not.toContain(newest);
    await migrateDown(connected);
    await migrate('up', without, { backup: false });
    expect(made()).toHaveLength(1);
  },
);

// Where Debian's is as new as the one from npm, on which the other tests run, there is no older one to refuse.
const DEBIANS = Number(/postgresql\/(\d+)\//.exec(POSTGRES_FOLDER ?? '')?.[1] ?? 18);
it.skipIf(DEBIANS >= 18)(
  'a pg_dump that is older than the server is not used, and nothing of the try stays',
  async () => {
    const newer = { ...env, DATABASE_URL: inject('postgresUrl').replace(/template$/, 'postgres') };
    await expect(backup({}, newer)).rejects.toThrow(
      /wants pg_dump 18 or newer, and found \d+\.\d+ \(.+\), which is older/,
    );
    expect(made()).toEqual([]);
  },
);

it('says what to install where there is no pg_dump that is new enough', async () => {
  await expect(findProgram('pg_dump', 99, { PATH: '' })).rejects.toThrow('apt-get install postgresql-client-99');
});

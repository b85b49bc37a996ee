import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
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
import { createLog } from '../../src/log.ts';
import { migrate } from '../../src/migrate-command.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { POSTGRES_FOLDER, startDebianPostgres } from '../support/debian-postgres.ts';
import { memoryOrDisk } from '../support/memory.ts';
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

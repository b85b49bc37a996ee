import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { sql } from 'kysely';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDb } from '../../src/db/connect.ts';
import { migrateDown, migrateUp, migrationStatus } from '../../src/db/migrate.ts';
import { UsageError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { spawnSutazai } from '../support/process.ts';
import { newTask, storeUser } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const log = createLog('silent');
let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ empty: true });
});
afterEach(() => database.close());

/** Columns, indexes and constraints of what is ours, as text. */
async function shape(): Promise<string[]> {
  const { rows } = await sql<{ line: string }>`
    select format('column %s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) as line
      from information_schema.columns where table_schema = 'public' and table_name not like 'kysely%'
    union all select 'index ' || indexdef from pg_indexes where schemaname = 'public' and tablename not like 'kysely%'
    union all select format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint
      where connamespace = 'public'::regnamespace and conrelid <> 0 and conrelid::regclass::text not like 'kysely%'
    order by 1`.execute(database.db);
  return rows.map(({ line }) => line);
}

const options = () => ({ db: database.db, pool: database.pool, log });

describe('the migrations', () => {
  it('go up, all the way down and up again to the same shape, and status tells where they stand', async () => {
    const before = await migrationStatus(options());
    expect(before.length).toBeGreaterThan(1);
    expect(before.every(({ appliedAt }) => appliedAt === undefined)).toBe(true);
    const names = before.map(({ name }) => name);

    expect(await migrateUp(options())).toEqual(names);
    expect(await migrateUp(options())).toEqual([]);
    const up = await shape();
    expect(up.length).toBeGreaterThan(100);
    expect((await migrationStatus(options())).every(({ appliedAt }) => appliedAt instanceof Date)).toBe(true);

    for (const name of names.toReversed()) {
      expect(await migrateDown(options())).toBe(name);
      const status = await migrationStatus(options());
      expect(status.find((one) => one.name === name)?.appliedAt).toBeUndefined();
    }
    expect(await migrateDown(options())).toBeUndefined();
    expect(await shape()).toEqual([]);
    expect(await migrateUp(options())).toEqual(names);
    expect(await shape()).toEqual(up);
  });

  it('that have no transaction may be done again, up and down, as after a kill between their steps', async () => {
    await migrateUp(options());
    const [all, db] = [await shape(), database.db as never];
    for (const { name } of (await migrationStatus(options())).toReversed()) {
      const module = await import(new URL(`../../migrations/${name}.ts`, import.meta.url).href);
      // What is older was released as it is.
      if (module.transactional === false && name > '0008') {
        const before = await shape();
        await module.up(db);
        expect(await shape(), name).toEqual(before);
        for (const step of [module.down, module.down, module.up]) await step(db);
      }
      await migrateDown(options());
    }
    await migrateUp(options());
    expect(await shape()).toEqual(all);
  });

  it('are applied once by two processes that start at the same moment', async () => {
    const env = { DATABASE_URL: database.url, QUEUE_BACKEND: 'postgres', LOG_LEVEL: 'silent' };
    const both = [spawnSutazai(['migrate', 'up'], env), spawnSutazai(['migrate', 'up'], env)];
    expect(await Promise.all(both.map(({ ended }) => ended)), both.map(({ output }) => output()).join()).toEqual([
      0, 0,
    ]);
    const lines = both.flatMap(({ output }) => output().split('\n')).filter((line) => line.startsWith('applied'));
    const names = (await migrationStatus(options())).map(({ name }) => name);
    const applied = lines.flatMap((line) => line.slice('applied '.length).split(', '));
    expect(applied.sort()).toEqual(names);
  });

  it('replace an invalid index that a killed run left behind', async () => {
    await migrateUp(options());
    while ((await migrateDown(options())) !== '0002_task_filters');
    // What a killed CREATE INDEX CONCURRENTLY leaves, with other columns, so that keeping it would be seen.
    await sql`create index agents_type_idx on agents (endpoint)`.execute(database.db);
    await sql`update pg_index set indisvalid = false where indexrelid = 'agents_type_idx'::regclass`.execute(
      database.db,
    );
    await migrateUp(options());
    const { rows } = await sql<{ def: string; indisvalid: boolean }>`
      select pg_get_indexdef(indexrelid) as def, indisvalid from pg_index
      where indexrelid = 'agents_type_idx'::regclass`.execute(database.db);
    expect(rows).toEqual([{ def: expect.stringContaining('(type)'), indisvalid: true }]);
  });

  it('refuse rows with a status or a priority that does not exist', async () => {
    await migrateUp(options());
    const userId = await storeUser(database.db);
    const insert = (status: 'pending', priority: number) => {
      const { id, user_id, type, lane, max_attempts, timeout_ms } = newTask(userId);
      const row = { id, user_id, type, lane, max_attempts, timeout_ms, status, priority, input: '{}', metadata: '{}' };
      return database.db.insertInto('tasks').values(row).execute();
    };
    await insert('pending', 10);
    await expect(insert('asleep' as 'pending', 5)).rejects.toMatchObject({ code: '23514' });
    await expect(insert('running' as 'pending', 5)).rejects.toMatchObject({ code: '23514' });
    await expect(insert('completed' as 'pending', 5)).rejects.toMatchObject({ code: '23514' });
    await expect(insert('pending', 0)).rejects.toMatchObject({ code: '23514' });
    await expect(insert('pending', 11)).rejects.toMatchObject({ code: '23514' });
  });
});

describe('a migration of a table that is in use', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sutazai-migrations-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const write = (name: string, text: string) => writeFile(join(folder, name), text);
  const there = () => ({ ...options(), folder: pathToFileURL(`${folder}/`) });
  // The files lie outside of the project, so they speak to Kysely without importing it.
  const statement = (text: string) =>
    `export async function up(db) { await db.executeQuery({ sql: ${JSON.stringify(text)}, parameters: [], query: { kind: 'RawNode' }, queryId: { queryId: 'x' } }); }`;

  it('gives up after its lock time-out and tries again, and readers are never blocked for 2 s', async () => {
    await sql`create table things (id int)`.execute(database.db);
    await write('0001_column.ts', statement('alter table things add column name text'));
    const reader = await database.pool.connect();
    await reader.query('begin');
    await reader.query('select * from things');

    const migrating = migrateUp(there());
    const waiting = await until('the migration waits for the table', async () => {
      const { rows } = await database.pool.query(
        "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like 'alter table things%' and datname = current_database()",
      );
      return rows[0];
    });
    expect(waiting.pid).toBeGreaterThan(0);
    // Whoever comes now queues behind the waiting ALTER until it gives up.
    const asked = Date.now();
    await database.pool.query('select * from things');
    expect(Date.now() - asked).toBeLessThan(2_000);

    await reader.query('commit');
    reader.release();
    expect(await migrating).toEqual(['0001_column']);
    await database.pool.query('select name from things');
  });

  it('says so when the table stays in use', async () => {
    await sql`create table things (id int)`.execute(database.db);
    await write('0001_column.ts', statement('alter table things add column name text'));
    const reader = await database.pool.connect();
    await reader.query('begin');
    await reader.query('select * from things');
    const refused = await migrateUp({ ...there(), lockRetries: 0 }).catch((error) => error);
    expect(refused).toBeInstanceOf(UsageError);
    expect(refused).toMatchObject({ message: expect.stringContaining('0001_column'), cause: { code: '55P03' } });
    await reader.query('commit');
    reader.release();
    expect(await migrationStatus(there())).toEqual([{ name: '0001_column', appliedAt: undefined }]);
  });

  it('says what a user is to be given who may not change the schema', async () => {
    const role = `limited_${process.pid}_${Date.now()}`;
    await sql`create role ${sql.id(role)}`.execute(database.db);
    const pool = new pg.Pool({ connectionString: database.url, max: 2, options: `-c role=${role}` });
    const db = createDb(pool);
    const refused = await migrateUp({ ...options(), db, pool }).catch((error) => error);
    await db.destroy();
    await sql`drop role ${sql.id(role)}`.execute(database.db);
    expect(refused).toBeInstanceOf(UsageError);
    expect(refused.message).toMatch(/permission denied for schema public\). Let a superuser make it the owner/);
  });

  it('ends with its statement when it is broken off, and what was applied before stays', async () => {
    await write('0001_table.ts', statement('create table things (id int)'));
    await write('0002_slow.ts', statement('select pg_sleep(600)'));
    const stop = new AbortController();
    const migrating = migrateUp({ ...there(), signal: stop.signal });
    const sleeps = async () => {
      const { rows } = await database.pool.query(
        "select pid from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active' and datname = current_database()",
      );
      return rows.length > 0;
    };
    await until('it sleeps', sleeps);
    stop.abort();
    await expect(migrating).rejects.toThrow();
    await until('its statement has ended', async () => !(await sleeps()));
    const status = await migrationStatus(there());
    expect(status.map(({ appliedAt }) => appliedAt !== undefined)).toEqual([true, false]);
    await expect(migrateUp({ ...there(), signal: stop.signal })).rejects.toThrow();
  });

  it('may take longer than any other statement of ours', async () => {
    await write('0001_slow.ts', statement('select pg_sleep(0.8)'));
    const pool = new pg.Pool({ connectionString: database.url, max: 2, query_timeout: 300, statement_timeout: 300 });
    const db = createDb(pool);
    await expect(migrateUp({ ...there(), db, pool })).resolves.toEqual(['0001_slow']);
    await db.destroy();
  });
});

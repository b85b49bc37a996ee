import { readdirSync } from 'node:fs';
import { sql } from 'kysely';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PREVIOUS } from '../previous/release.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

interface Column {
  type: string;
  /** Whether a statement that does not know it can add a row. */
  optional: boolean;
  nullable: boolean;
}

interface Shape {
  columns: Map<string, Column>;
  /** Unique indexes, and checks and foreign keys, by what they say. */
  rules: Map<string, string>;
}

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.close());

async function shape({ db }: Pick<TestDatabase, 'db'>): Promise<Shape> {
  const columns = await sql<{ name: string; type: string; nullable: boolean; optional: boolean }>`
    select format('%s.%s', relname, attname) as name, format_type(atttypid, atttypmod) as type, not attnotnull as nullable,
      not attnotnull or atthasdef or attidentity <> '' as optional
    from pg_attribute join pg_class on pg_class.oid = attrelid
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and attnum > 0 and not attisdropped
      and relname not like 'kysely%'`.execute(db);
  const rules = await sql<{ table: string; rule: string }>`
    select relname as table, regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ', 'INDEX ') as rule
    from pg_index join pg_class on pg_class.oid = indrelid
    where indisunique and relnamespace = 'public'::regnamespace and relname not like 'kysely%'
    union all select relname, pg_get_constraintdef(pg_constraint.oid)
    from pg_constraint join pg_class on pg_class.oid = conrelid
    where contype in ('c', 'f', 'x') and connamespace = 'public'::regnamespace and relname not like 'kysely%'`.execute(
    db,
  );
  return {
    columns: new Map(columns.rows.map(({ name, ...column }) => [name, column])),
    rules: new Map(rules.rows.map(({ table, rule }) => [`${table}: ${rule}`, table])),
  };
}

/** What a process that only knows the older schema would stumble over in the newer one. */
function contractions(older: Shape, newer: Shape): string[] {
  const tables = new Set([...older.columns.keys()].map((name) => name.split('.')[0] as string));
  const found: string[] = [];
  for (const [name, column] of older.columns) {
    const now = newer.columns.get(name);
    if (!now) found.push(`${name} is gone`);
    else if (now.type !== column.type) found.push(`${name} was ${column.type} and is ${now.type}`);
    else if (column.optional && !now.optional) found.push(`${name} has to be given now`);
    else if (column.nullable && !now.nullable) found.push(`${name} may not be null any more`);
  }
  for (const [name, column] of newer.columns)
    if (!older.columns.has(name) && tables.has(name.split('.')[0] as string) && !column.optional)
      found.push(`${name} is new and has to be given`);
  for (const [rule, table] of newer.rules)
    if (!older.rules.has(rule) && tables.has(table)) found.push(`there is a new rule on ${rule}`);
  return found;
}

/** New rules on old tables that no statement of the previous release breaks, each with the reason. */
const HARMLESS: Array<[rule: RegExp, why: string]> = [
  [/^there is a new rule on agents: /, 'it never writes agents'],
  [/on tasks: CREATE UNIQUE INDEX .+ WHERE \(schedule_id IS NOT NULL\)$/, 'it never gives that column'],
  [/on deliveries: FOREIGN KEY \(endpoint_id\)/, 'it never gives that column'],
  [/on collections: CHECK .+distance/, 'it never gives that column, and its default is allowed'],
  [/on tasks: CHECK .+'running'.+ OR \(awaiting IS NOT NULL\)/, 'it takes the place of one that is stricter'],
  [/on attempts: CHECK .+outcome/, 'it takes the place of one that allows less'],
];

/** The schema of the previous release: its migrations are the first of these, and none is changed any more. */
async function previousShape(): Promise<Shape> {
  const empty = await createTestDatabase({ empty: true });
  try {
    const folder = new URL('../../migrations/', import.meta.url);
    for (const file of readdirSync(folder).sort()) {
      if (file > `${PREVIOUS.migration}.ts`) break;
      const { up } = await import(new URL(file, folder).href);
      await up(empty.db);
    }
    return await shape(empty);
  } finally {
    await empty.close();
  }
}

it('a process of the previous release stumbles over nothing in the newest schema', async () => {
  const found = contractions(await previousShape(), await shape(database));
  expect(found.filter((one) => !HARMLESS.some(([rule]) => rule.test(one)))).toEqual([]);
  expect(
    HARMLESS.filter(([rule]) => !found.some((one) => rule.test(one))),
    'no longer needed',
  ).toEqual([]);
});

it.each([
  ['drop table signing_keys cascade', 'signing_keys.kid is gone'],
  ['alter table tasks rename column title to name', 'tasks.title is gone'],
  [
    'alter table users alter column email type varchar(9)',
    'users.email was character varying(254) and is character varying(9)',
  ],
  ['alter table tasks alter column title set not null', 'tasks.title has to be given now'],
  [
    "alter table tasks alter column title set default '', alter column title set not null",
    'tasks.title may not be null',
  ],
  ['alter table tasks add column newer text not null', 'tasks.newer is new and has to be given'],
  ['alter table tasks alter column priority drop default', 'tasks.priority has to be given now'],
  ['create unique index on users (role)', 'there is a new rule on users: CREATE UNIQUE INDEX'],
  ['alter table tasks add check (length(title) < 9)', 'there is a new rule on tasks: CHECK'],
])('it is seen that %j takes something away', async (statement, problem) => {
  const older = await shape(database);
  await sql.raw(statement).execute(database.db);
  expect(contractions(older, await shape(database)).join('\n')).toContain(problem);
});

it.each([
  ["alter table tasks add column newer text not null default ''"],
  ['alter table tasks add column newer text'],
  ['create table newer (id uuid primary key, task_id uuid not null references tasks, unique (task_id))'],
  ['create index on tasks (title)'],
  ['alter table tasks alter column title set default null'],
])('%j only adds something', async (statement) => {
  const older = await shape(database);
  await sql.raw(statement).execute(database.db);
  expect(contractions(older, await shape(database))).toEqual([]);
});

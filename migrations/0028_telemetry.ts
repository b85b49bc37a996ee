import { type Kysely, sql } from 'kysely';

const UP = [
  // The trace that a task belongs to, as W3C writes it; only while traces are sent somewhere.
  'alter table tasks add column traceparent text',
  // What waits and runs, counted by one process for all: counting takes the longer the more there is.
  `create table queue_counts (
     one boolean primary key default true check (one),
     counts jsonb not null default '[]',
     counted_at timestamptz,
     next_at timestamptz not null default now()
   )`,
  'insert into queue_counts default values',
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`drop table if exists queue_counts`.execute(db);
  await sql`alter table tasks drop column if exists traceparent`.execute(db);
}

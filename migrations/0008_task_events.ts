import { type Kysely, sql } from 'kysely';

const UP = [
  // Somebody reads the events of the task: changes are announced, and its worker publishes the text as it is made.
  `alter table tasks add column streamed boolean not null default false`,

  // What happened to a task and stands in no other row: who cancelled it, who ran it again, what it said on its way.
  `create table task_events (
    id bigint generated always as identity,
    task_id uuid not null references tasks (id) on delete cascade,
    attempt integer not null,
    type varchar(12) not null check (type in ('progress', 'log', 'cancel', 'retried')),
    data jsonb not null,
    at timestamptz not null default clock_timestamp(),
    primary key (task_id, id)
  )`,
];

const DOWN = [`drop table task_events`, `alter table tasks drop column streamed`];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}

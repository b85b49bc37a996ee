import { type Kysely, sql } from 'kysely';

const UP = [
  `create table workflow_definitions (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    name varchar(100) not null,
    description varchar(1000),
    version integer not null,
    step_count integer not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (user_id, name)
  )`,
  // Never changed: what runs by a version knows what it gets.
  `create table workflow_versions (
    id uuid primary key,
    workflow_id uuid not null references workflow_definitions (id) on delete cascade,
    version integer not null,
    definition json not null,
    step_count integer not null,
    created_by varchar(100) not null,
    created_at timestamptz not null default now(),
    unique (workflow_id, version)
  )`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const table of ['workflow_versions', 'workflow_definitions'])
    await sql.raw(`drop table if exists ${table}`).execute(db);
}

import { type Kysely, sql } from 'kysely';

const UP = [
  // An agent without an owner is everybody's; one of the type `ollama` is at no address. One that was removed keeps its row,
  // because it is the history of tasks.
  `alter table agents
    drop constraint agents_name_key,
    alter column endpoint drop not null,
    add column user_id uuid references users (id) on delete cascade,
    add column description varchar(500),
    add column secrets bytea,
    add column secret_names text[] not null default '{}',
    add column deleted_at timestamptz`,
  `create unique index agents_user_id_name_key on agents (user_id, name) where user_id is not null and deleted_at is null`,
  `create unique index agents_shared_name_key on agents (name) where user_id is null and deleted_at is null`,
];

const DOWN = [
  `drop index agents_user_id_name_key`,
  `drop index agents_shared_name_key`,
  `delete from agents where user_id is not null or endpoint is null or deleted_at is not null`,
  `alter table agents
    drop column user_id,
    drop column description,
    drop column secrets,
    drop column secret_names,
    drop column deleted_at,
    alter column endpoint set not null,
    add constraint agents_name_key unique (name)`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}

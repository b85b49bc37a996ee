import { type Kysely, sql } from 'kysely';

const UP = [
  `create table api_keys (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    name varchar(100) not null,
    prefix varchar(12) not null,
    key_hash bytea not null unique,
    scopes text[] not null check (cardinality(scopes) > 0),
    task_types text[],
    priority_ceiling smallint check (priority_ceiling between 1 and 10),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
  )`,
  `create index api_keys_user_id_idx on api_keys (user_id, id desc)`,

  // The secrets are sealed. A key without an end signs; one with an end is still taken until then.
  `create table signing_keys (
    kid varchar(12) primary key,
    secret bytea not null,
    created_at timestamptz not null default now(),
    retires_at timestamptz
  )`,

  // Triggers, so that every process hears of it whoever makes the change, and none can be forgotten.
  `create function announce_gone() returns trigger language plpgsql as $$
    begin
      perform pg_notify('sutazai_identity', 'gone ' || old.id);
      return null;
    end $$`,
  ...['user_sessions', 'api_keys'].flatMap((table) => [
    `create trigger ${table}_revoked after update of revoked_at on ${table}
      for each row when (new.revoked_at is not null) execute function announce_gone()`,
    `create trigger ${table}_deleted after delete on ${table} for each row execute function announce_gone()`,
  ]),
  `create trigger users_deleted after delete on users for each row execute function announce_gone()`,
  // Whoever was given another role, or was switched off, has to log in again.
  `create function end_sessions_of_user() returns trigger language plpgsql as $$
    begin
      update user_sessions set revoked_at = now(),
        revoked_reason = case when new.is_active then 'role_changed' else 'user_disabled' end
      where user_id = new.id and revoked_at is null;
      perform pg_notify('sutazai_identity', 'gone ' || new.id);
      return null;
    end $$`,
  `create trigger users_changed after update of role, is_active on users
    for each row when (old.role is distinct from new.role or old.is_active is distinct from new.is_active)
    execute function end_sessions_of_user()`,
];

const DOWN = [
  `drop trigger users_changed on users`,
  `drop function end_sessions_of_user()`,
  `drop trigger users_deleted on users`,
  `drop trigger user_sessions_deleted on user_sessions`,
  `drop trigger user_sessions_revoked on user_sessions`,
  `drop table signing_keys`,
  `drop table api_keys`,
  `drop function announce_gone()`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}

import { type Kysely, sql } from 'kysely';

const UP = [
  // What an administrator allows a user, where that differs from what everybody has; 0 is no limit.
  `create table user_limits (
    user_id uuid primary key references users (id) on delete cascade,
    waiting_tasks integer check (waiting_tasks >= 0),
    running_tasks integer check (running_tasks >= 0),
    tokens_per_day integer check (tokens_per_day >= 0),
    requests_per_minute integer check (requests_per_minute >= 0)
  )`,
  `create function announce_limits() returns trigger language plpgsql as $$
    begin
      perform pg_notify('sutazai_limits', coalesce(new.user_id, old.user_id)::text);
      return null;
    end $$`,
  `create trigger user_limits_changed after insert or update or delete on user_limits
    for each row execute function announce_limits()`,

  // Without a reference to the user: the statements that count must not wait for one that changes or deletes the account.
  `create table token_usage (
    user_id uuid not null,
    day date not null,
    tokens bigint not null,
    primary key (user_id, day)
  ) with (fillfactor = 50)`,

  // Hashes of what failed logins were aimed at; the names that were typed are not kept.
  `create table login_failures (
    target bytea primary key,
    failures integer not null check (failures >= 0),
    last_at timestamptz not null default now()
  )`,
  `create index login_failures_last_at_idx on login_failures (last_at)`,

  // How much was asked for in the present minute. A crash of Postgres may forget that, so it costs no log.
  `create unlogged table request_counts (
    subject varchar(100) primary key,
    minute integer not null,
    requests integer not null
  ) with (fillfactor = 50)`,
];

const DOWN = [
  `drop table request_counts`,
  `drop table login_failures`,
  `drop table token_usage`,
  `drop table user_limits`,
  `drop function announce_limits()`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}

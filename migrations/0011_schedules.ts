import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction. */
export const transactional = false;

const UP = [
  `create table if not exists schedules (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    name varchar(100),
    cron varchar(200),
    every_seconds integer check (every_seconds >= 1),
    timezone varchar(64) not null,
    enabled boolean not null,
    catch_up varchar(4) not null check (catch_up in ('one', 'skip')),
    task json not null,
    webhook_secret bytea,
    starts_at timestamptz not null,
    next_run_at timestamptz,
    last_run_at timestamptz,
    last_task_id uuid,
    last_error jsonb,
    missed integer not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((cron is null) <> (every_seconds is null))
  )`,
  `create index if not exists schedules_user_id_idx on schedules (user_id, id desc)`,
  `create index if not exists schedules_next_run_at_idx on schedules (next_run_at) where enabled`,
];

const INDEX = 'tasks_schedule_idx';

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
  // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
  const { rows } =
    await sql`select 1 from pg_index where indexrelid = to_regclass(${INDEX}) and not indisvalid`.execute(db);
  if (rows.length > 0) await sql.raw(`drop index concurrently ${INDEX}`).execute(db);
  // One task a tick, whatever happens.
  await sql
    .raw(
      `create unique index concurrently if not exists ${INDEX} on tasks (schedule_id, scheduled_for) where schedule_id is not null`,
    )
    .execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql.raw(`drop index concurrently if exists ${INDEX}`).execute(db);
  await sql`drop table if exists schedules`.execute(db);
}

import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction, so every step may be done again. */
export const transactional = false;

const UP = [
  // One that was removed keeps its row, because its deliveries are the history of tasks.
  `create table if not exists webhook_endpoints (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    name varchar(100),
    url varchar(2048) not null,
    events text[] not null check (cardinality(events) > 0),
    enabled boolean not null default true,
    disabled_reason varchar(10) check (disabled_reason in ('owner', 'gone', 'failing')),
    disabled_at timestamptz,
    secret bytea not null,
    previous_secret bytea,
    previous_until timestamptz,
    failing_since timestamptz,
    last_success_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz,
    check (enabled = (disabled_reason is null)),
    check (enabled = (disabled_at is null))
  )`,
  `create index if not exists webhook_endpoints_user_id_idx on webhook_endpoints (user_id, id desc) where deleted_at is null`,

  // A UUIDv7, so that deliveries can be listed by their ids. Postgres makes them itself from version 18, and plans that quicker.
  `create or replace function new_delivery_id() returns uuid language sql volatile as $$
    select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing
      substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid $$`,
  // What belongs to an endpoint is signed with the secret that it has at the time; a test belongs to no task.
  `alter table deliveries
    alter column task_id drop not null,
    alter column task_attempt drop not null,
    alter column secret drop not null,
    add column if not exists endpoint_id uuid references webhook_endpoints (id) on delete cascade,
    add column if not exists data jsonb,
    add column if not exists schedule_from integer not null default 0`,
  `do $$ begin
    if current_setting('server_version_num')::int >= 180000 then alter table deliveries alter column id set default uuidv7();
    else alter table deliveries alter column id set default new_delivery_id(); end if;
  end $$`,
];

const INDEXES = {
  deliveries_endpoint_id_idx: '(endpoint_id, id desc) where endpoint_id is not null',
  deliveries_endpoint_id_status_idx: '(endpoint_id, status, id desc) where endpoint_id is not null',
  deliveries_without_task_idx: '(created_at) where task_id is null',
};

const DOWN = [
  `delete from deliveries where task_id is null or secret is null`,
  `alter table deliveries
    alter column id set default gen_random_uuid(),
    alter column task_id set not null,
    alter column task_attempt set not null,
    alter column secret set not null,
    drop column if exists endpoint_id,
    drop column if exists data,
    drop column if exists schedule_from`,
  `drop function if exists new_delivery_id()`,
  `drop table if exists webhook_endpoints`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
  for (const [name, what] of Object.entries(INDEXES)) {
    // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
    const { rows } = await sql`select 1 from pg_index
      where indexrelid = to_regclass(${name}) and not indisvalid`.execute(db);
    if (rows.length > 0) await sql.raw(`drop index concurrently ${name}`).execute(db);
    await sql.raw(`create index concurrently if not exists ${name} on deliveries ${what}`).execute(db);
  }
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const name of Object.keys(INDEXES)) await sql.raw(`drop index concurrently if exists ${name}`).execute(db);
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}

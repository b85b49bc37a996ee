import { type Kysely, sql } from 'kysely';

const UP = [
  // What users upload, and what batches write. The content lies in parts beside the row, so that any process on any machine
  // can read it, and none ever holds a whole file.
  `create table files (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    filename varchar(255) not null,
    content_type varchar(255),
    purpose varchar(40) not null,
    status varchar(12) not null default 'uploading' check (status in ('uploading', 'ready')),
    bytes bigint not null default 0 check (bytes >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  )`,
  `create index files_user_id_idx on files (user_id, id desc) include (bytes)`,
  `create index files_uploading_idx on files (updated_at) where status = 'uploading'`,
  // Named by where it begins, so that what stands at some place is found without a look at what is before it.
  `create table file_parts (
    file_id uuid not null references files (id) on delete cascade,
    start bigint not null,
    content bytea not null,
    primary key (file_id, start)
  )`,

  `create table batches (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    key_id uuid,
    endpoint varchar(40) not null,
    completion_window varchar(10) not null,
    metadata jsonb,
    status varchar(12) not null check (status in
      ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled')),
    errors jsonb,
    input_file_id uuid not null,
    output_file_id uuid,
    error_file_id uuid,
    read_to bigint not null default 0,
    total integer not null default 0,
    submitted_to integer not null default 0,
    completed integer not null default 0,
    failed integer not null default 0,
    request_id varchar(64),
    step_at timestamptz default now(),
    created_at timestamptz not null default now(),
    in_progress_at timestamptz,
    finalizing_at timestamptz,
    cancelling_at timestamptz,
    ended_at timestamptz,
    expires_at timestamptz not null,
    check ((status in ('failed', 'completed', 'expired', 'cancelled')) = (step_at is null))
  )`,
  `create index batches_user_id_idx on batches (user_id, id desc)`,
  `create index batches_step_at_idx on batches (step_at) where step_at is not null`,
  `create index batches_input_file_id_idx on batches (input_file_id) where step_at is not null`,
  // The lines of which nothing was written into a file yet; those that were are gone from here.
  `create table batch_lines (
    batch_id uuid not null references batches (id) on delete cascade,
    line integer not null,
    custom_id varchar(512) not null,
    start bigint not null,
    length integer not null,
    task_id uuid,
    primary key (batch_id, line),
    unique (batch_id, custom_id)
  ) with (autovacuum_vacuum_scale_factor = 0.02)`,
];

const TABLES = ['batch_lines', 'batches', 'file_parts', 'files'];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const table of TABLES) await sql.raw(`drop table ${table}`).execute(db);
}

import { type Kysely, sql } from 'kysely';

const UP = [
  `create table users (
    id uuid primary key,
    username varchar(50) not null,
    email varchar(254) not null,
    password_hash varchar(255) not null,
    role varchar(20) not null default 'user' check (role in ('admin', 'operator', 'user', 'viewer')),
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    last_login_at timestamptz
  )`,
  `create unique index users_username_key on users (lower(username))`,
  `create unique index users_email_key on users (lower(email))`,

  `create table user_sessions (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    token_hash bytea not null unique,
    previous_token_hash bytea,
    rotated_at timestamptz,
    user_agent text,
    address inet,
    created_at timestamptz not null default now(),
    last_used_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz,
    revoked_reason varchar(40)
  )`,
  `create index user_sessions_user_id_idx on user_sessions (user_id)`,
  `create index user_sessions_revoked_at_idx on user_sessions (revoked_at) where revoked_at is not null`,

  `create table agents (
    id uuid primary key,
    name varchar(100) not null unique,
    type varchar(50) not null,
    endpoint varchar(2048) not null,
    port integer check (port between 1 and 65535),
    is_active boolean not null default true,
    capabilities jsonb not null default '[]' check (jsonb_typeof(capabilities) = 'array'),
    config jsonb not null default '{}' check (jsonb_typeof(config) = 'object'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  )`,

  `create table tasks (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    type varchar(100) not null,
    lane varchar(20) not null,
    title varchar(255),
    status varchar(12) not null check (status in
      ('scheduled', 'pending', 'running', 'completed', 'failed', 'cancelling', 'cancelled', 'expired')),
    priority smallint not null default 5 check (priority between 1 and 10),
    input json not null,
    output json,
    error jsonb,
    progress jsonb,
    attempt integer not null default 0 check (attempt >= 0),
    max_attempts smallint not null check (max_attempts between 1 and 100),
    failures smallint not null default 0,
    losses smallint not null default 0,
    generation integer not null default 0,
    timeout_ms integer not null check (timeout_ms > 0),
    worker varchar(100),
    lease_until timestamptz,
    watched boolean not null default false,
    metadata jsonb not null default '{}',
    tags text[] not null default '{}',
    model varchar(200),
    usage jsonb,
    agent_id uuid references agents (id) on delete set null,
    parent_id uuid references tasks (id) on delete set null,
    batch_id uuid,
    schedule_id uuid,
    webhook jsonb,
    request_id varchar(64),
    cancel_reason varchar(40),
    created_at timestamptz not null default now(),
    ready_at timestamptz not null default now(),
    scheduled_for timestamptz,
    started_at timestamptz,
    completed_at timestamptz,
    expires_at timestamptz,
    check ((status = 'running') <= (lease_until is not null)),
    check ((status in ('completed', 'failed', 'cancelled', 'expired')) = (completed_at is not null))
  ) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05)`,
  `create index tasks_user_id_idx on tasks (user_id, id desc)`,
  `create index tasks_waiting_idx on tasks (ready_at, id) where status in ('scheduled', 'pending')`,
  `create index tasks_scheduled_idx on tasks (ready_at) where status = 'scheduled'`,
  `create index tasks_lease_until_idx on tasks (lease_until) where status in ('running', 'cancelling')`,
  `create index tasks_expires_at_idx on tasks (expires_at) where expires_at is not null and status in ('scheduled', 'pending', 'running')`,
  `create index tasks_parent_id_idx on tasks (parent_id) where parent_id is not null`,
  `create index tasks_batch_id_idx on tasks (batch_id) where batch_id is not null`,
  `create index tasks_agent_id_idx on tasks (agent_id) where agent_id is not null`,

  // What a user calls a collection. The points of all collections with one model and dimension share a Qdrant collection.
  `create table collections (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    name varchar(100) not null,
    embedding_model varchar(200),
    dimensions integer not null check (dimensions between 1 and 65536),
    created_at timestamptz not null default now(),
    unique (user_id, name)
  )`,

  // The ledger: one row for every attempt that ended, never changed afterwards.
  `create table attempts (
    task_id uuid not null references tasks (id) on delete cascade,
    attempt integer not null,
    outcome varchar(12) not null check (outcome in ('completed', 'failed', 'retry', 'released', 'cancelled', 'lost')),
    worker varchar(100),
    model varchar(200),
    usage jsonb,
    error jsonb,
    started_at timestamptz,
    ended_at timestamptz not null default now(),
    primary key (task_id, attempt)
  )`,

  `create table deliveries (
    id uuid primary key default gen_random_uuid(),
    task_id uuid not null references tasks (id) on delete cascade,
    task_attempt integer not null,
    event varchar(40) not null,
    url text not null,
    secret bytea not null,
    status varchar(12) not null default 'pending' check (status in ('pending', 'running', 'delivered', 'failed')),
    attempt integer not null default 0,
    generation integer not null default 0,
    lease_until timestamptz,
    ready_at timestamptz not null default now(),
    last_status smallint,
    last_error text,
    created_at timestamptz not null default now(),
    completed_at timestamptz
  )`,
  `create index deliveries_task_id_idx on deliveries (task_id)`,
  `create index deliveries_waiting_idx on deliveries (ready_at, id) where status = 'pending'`,
  `create index deliveries_lease_until_idx on deliveries (lease_until) where status = 'running'`,

  `create table delivery_attempts (
    delivery_id uuid not null references deliveries (id) on delete cascade,
    attempt integer not null,
    status smallint,
    error text,
    response text,
    latency_ms integer not null,
    at timestamptz not null default now(),
    primary key (delivery_id, attempt)
  )`,
];

const TABLES = [
  'delivery_attempts',
  'deliveries',
  'attempts',
  'collections',
  'tasks',
  'agents',
  'user_sessions',
  'users',
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const table of TABLES) await sql.raw(`drop table ${table}`).execute(db);
}

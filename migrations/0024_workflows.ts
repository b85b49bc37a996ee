import { type Kysely, sql } from 'kysely';

const UP = [
  // One row for each workflow that has begun; whoever moves it on holds this row, and nobody else's.
  `create table workflow_runs (
    workflow_id uuid primary key references tasks (id) on delete cascade,
    phase varchar(10) not null default 'forward' check (phase in ('forward', 'stopping', 'undoing', 'ended', 'restart', 'anew')),
    depth smallint not null default 0,
    input json not null default 'null',
    output json,
    steps integer not null,
    open integer not null,
    busy integer not null default 0,
    undo boolean not null default false,
    error jsonb,
    look_at timestamptz
  )`,
  `create index workflow_runs_look_at_idx on workflow_runs (look_at) where look_at is not null`,

  // A step, with item -1, and what a step does for each item of its list. An item has no definition but that of its step.
  `create table workflow_steps (
    workflow_id uuid not null references workflow_runs (workflow_id) on delete cascade,
    step varchar(100) not null,
    item integer not null default -1,
    place integer not null,
    status varchar(10) not null default 'waiting' check (status in
      ('waiting', 'ready', 'running', 'awaiting', 'completed', 'failed', 'skipped', 'cancelled')),
    needs_left integer not null default 0,
    definition json,
    value json,
    child_id uuid,
    items integer,
    items_left integer,
    items_failed integer,
    output json,
    error jsonb,
    decision jsonb,
    expires_at timestamptz,
    undo varchar(10) check (undo in ('ready', 'running', 'completed', 'failed')),
    undo_id uuid,
    started_at timestamptz,
    ended_at timestamptz,
    primary key (workflow_id, step, item)
  ) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)`,
  `create index workflow_steps_ready_idx on workflow_steps (workflow_id, place, item) where status = 'ready'`,
  `create index workflow_steps_items_idx on workflow_steps (workflow_id, step, item) where status = 'waiting' and item >= 0`,
  `create index workflow_steps_child_id_idx on workflow_steps (child_id) where child_id is not null`,
  `create index workflow_steps_undo_idx on workflow_steps (workflow_id, ended_at) where undo in ('ready', 'running')`,
  `create index workflow_steps_expires_at_idx on workflow_steps (expires_at) where status = 'awaiting'`,

  `create table workflow_edges (
    workflow_id uuid not null references workflow_runs (workflow_id) on delete cascade,
    needs varchar(100) not null,
    step varchar(100) not null,
    primary key (workflow_id, needs, step)
  )`,

  // What ended and was not reckoned with so far. Written by the statement that ends a task, so it refers to nothing: that statement must wait for no lock.
  `create table workflow_ends (
    id bigint generated always as identity primary key,
    workflow_id uuid not null,
    child_id uuid,
    step varchar(100),
    status varchar(12) not null,
    error jsonb,
    output json,
    at timestamptz not null default clock_timestamp()
  ) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)`,
  `create index workflow_ends_workflow_id_idx on workflow_ends (workflow_id, id)`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const table of ['workflow_ends', 'workflow_edges', 'workflow_steps', 'workflow_runs'])
    await sql.raw(`drop table if exists ${table}`).execute(db);
}

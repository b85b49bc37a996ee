import { type Kysely, sql } from 'kysely';

const UP = [
  // Names and ids are copied: an entry outlives the account, the key and the object that it speaks of.
  `create table audit_log (
    id uuid primary key,
    at timestamptz not null default now(),
    actor_id uuid,
    actor_name varchar(100),
    key_id uuid,
    action varchar(60) not null,
    outcome varchar(10) not null check (outcome in ('ok', 'refused')),
    object_type varchar(40),
    object_id varchar(200),
    address inet,
    request_id varchar(64),
    details jsonb not null default '{}' check (jsonb_typeof(details) = 'object')
  )`,
  `create index audit_log_actor_id_idx on audit_log (actor_id, id desc)`,
  `create index audit_log_action_idx on audit_log (action, id desc)`,
  `create index audit_log_object_id_idx on audit_log (object_id, id desc)`,
  `create function refuse_audit_change() returns trigger language plpgsql as $$
    begin
      raise exception 'the audit log is append-only: % is refused', tg_op using errcode = 'insufficient_privilege';
    end $$`,
  `create trigger audit_log_append_only before update or delete or truncate on audit_log
    for each statement execute function refuse_audit_change()`,

  `create table invitations (
    id uuid primary key,
    token_hash bytea not null unique,
    email varchar(254),
    role varchar(20) not null check (role in ('admin', 'operator', 'user', 'viewer')),
    created_by uuid references users (id) on delete set null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_by uuid references users (id) on delete set null,
    used_at timestamptz
  )`,

  // Which lanes are to stand still; the queue store is told again after it was emptied.
  `create table paused_lanes (
    lane varchar(20) primary key,
    paused_by varchar(100),
    paused_at timestamptz not null default now()
  )`,
];

const DOWN = [
  `drop table paused_lanes`,
  `drop table invitations`,
  `drop table audit_log`,
  `drop function refuse_audit_change()`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}

import { type Kysely, sql } from 'kysely';

const UP = [
  // `caller` is the API key, or the user where a session asks. `expires_at` is the end of the lease while `answer` is null, and of the 24 hours from then on.
  `create table idempotency_keys (
    user_id uuid not null references users (id) on delete cascade,
    caller uuid not null,
    key varchar(255) collate "C" not null,
    fingerprint bytea not null,
    holder uuid not null,
    answer bytea,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (user_id, caller, key)
  ) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05)`,
  `create index idempotency_keys_expires_at_idx on idempotency_keys (expires_at)`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`drop table idempotency_keys`.execute(db);
}

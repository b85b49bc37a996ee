import { type Kysely, sql } from 'kysely';

const UP = [
  // A crash of Postgres may forget it, so it costs no log.
  `create unlogged table embedding_cache (
    key bytea primary key,
    vector bytea not null,
    tokens integer not null,
    used_at timestamptz not null default now()
  )`,
  // Floats do not get smaller by being compressed.
  `alter table embedding_cache alter column vector set storage external`,
  `create index embedding_cache_used_at_idx on embedding_cache (used_at)`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`drop table embedding_cache`.execute(db);
}

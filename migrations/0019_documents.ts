import { type Kysely, sql } from 'kysely';

const UP = [
  `create table documents (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    collection_id uuid not null references collections (id) on delete cascade,
    task_id uuid,
    identity varchar(2060),
    title varchar(500),
    source varchar(2048),
    content_type varchar(100) not null,
    content_hash varchar(64) not null,
    metadata jsonb not null,
    status varchar(10) not null check (status in ('reading', 'embedding', 'ready', 'deleting')),
    chunks integer not null default 0,
    embedded integer not null default 0,
    bytes integer not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (collection_id, content_hash)
  )`,
  `create index documents_user_id_idx on documents (user_id)`,
  `create index documents_collection_id_idx on documents (collection_id, id desc)`,
  `create index documents_task_id_idx on documents (task_id) where task_id is not null`,
  // Those of one name, of which only the newest is to stay.
  `create index documents_identity_idx on documents (collection_id, md5(identity)) where identity is not null`,
  // What searches do not show, and what is still to be cleared away.
  `create index documents_hidden_idx on documents (collection_id) where status in ('embedding', 'deleting')`,

  `create table document_chunks (
    document_id uuid not null references documents (id) on delete cascade,
    chunk integer not null,
    heading text not null,
    text text not null,
    tokens integer not null,
    primary key (document_id, chunk)
  )`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`drop table if exists document_chunks, documents`.execute(db);
}

import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<never>): Promise<void> {
  // When a collection of a name was last removed: what was handed in before then must not make it again. Its own row has left its
  // name, and goes once nothing of it is in the vector store, which may be before a task that waits is run.
  await sql`create table removed_collections (
    user_id uuid not null references users (id) on delete cascade,
    name varchar(100) not null,
    removed_at timestamptz not null,
    primary key (user_id, name)
  )`.execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`drop table if exists removed_collections`.execute(db);
}

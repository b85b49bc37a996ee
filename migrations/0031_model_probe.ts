import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<never>): Promise<void> {
  // What the embedding model made of one known text when the collection got its first vector, beside the digest that it had then.
  await sql`alter table collections add column model_probe bytea`.execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`alter table collections drop column if exists model_probe`.execute(db);
}

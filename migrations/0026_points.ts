import { type Kysely, sql } from 'kysely';

const UP = [
  // How many points the chunks of a document have; null where each has one, as they had before.
  'alter table documents add column points integer',
  // The digest that the embedding model of a collection had; null where nobody has told it.
  'alter table collections add column model_digest varchar(100)',
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`alter table documents drop column if exists points`.execute(db);
  await sql`alter table collections drop column if exists model_digest`.execute(db);
}

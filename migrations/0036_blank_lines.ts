import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<never>): Promise<void> {
  // Lines of a file that ask for nothing are not among those of its batch, but the lines behind them keep their numbers.
  await sql`alter table batches add column blank integer not null default 0`.execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`alter table batches drop column if exists blank`.execute(db);
}

import { type Kysely, sql } from 'kysely';

const UP = [
  // Which model a name meant, and who ran it: a name can mean another model tomorrow, and on another host today.
  `alter table attempts add column model_digest text, add column host varchar(100)`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`alter table attempts drop column host, drop column model_digest`.execute(db);
}

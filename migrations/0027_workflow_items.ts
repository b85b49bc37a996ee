import { type Kysely, sql } from 'kysely';

const UP = [
  // How large the items of all lists of a workflow are, which has a bound. Of those that had begun before nobody counted.
  'alter table workflow_runs add column item_bytes integer not null default 0',
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`alter table workflow_runs drop column if exists item_bytes`.execute(db);
}

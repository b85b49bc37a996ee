import { type Kysely, sql } from 'kysely';

const UP = [
  // The task that this one was made from by a retry with another input. No reference: that task may be forgotten first.
  `alter table tasks add column origin_id uuid`,
  `alter table tasks add column payload_deleted_at timestamptz`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`alter table tasks drop column payload_deleted_at, drop column origin_id`.execute(db);
}

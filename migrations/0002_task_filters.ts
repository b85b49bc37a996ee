import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction. */
export const transactional = false;

const INDEXES = {
  tasks_user_id_status_idx: '(user_id, status, id desc)',
  tasks_status_idx: '(status, id desc)',
  agents_type_idx: '(type)',
};

const TABLE_OF = (index: string) => index.split('_', 1)[0] as string;

export async function up(db: Kysely<never>): Promise<void> {
  for (const [name, columns] of Object.entries(INDEXES)) {
    // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
    const { rows } = await sql`select 1 from pg_index
      where indexrelid = to_regclass(${name}) and not indisvalid`.execute(db);
    if (rows.length > 0) await sql.raw(`drop index concurrently ${name}`).execute(db);
    await sql.raw(`create index concurrently if not exists ${name} on ${TABLE_OF(name)} ${columns}`).execute(db);
  }
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const name of Object.keys(INDEXES)) await sql.raw(`drop index concurrently if exists ${name}`).execute(db);
}

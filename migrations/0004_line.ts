import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction. */
export const transactional = false;

const INDEX = 'tasks_line_idx';

export async function up(db: Kysely<never>): Promise<void> {
  // Since when a task stands in line, where that is earlier than the time it became ready again.
  await sql`alter table tasks add column if not exists queued_at timestamptz`.execute(db);
  // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
  const { rows } =
    await sql`select 1 from pg_index where indexrelid = to_regclass(${INDEX}) and not indisvalid`.execute(db);
  if (rows.length > 0) await sql.raw(`drop index concurrently ${INDEX}`).execute(db);
  await sql
    .raw(
      `create index concurrently if not exists ${INDEX} on tasks (lane, priority, coalesce(queued_at, ready_at), id)
       where status in ('scheduled', 'pending')`,
    )
    .execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql.raw(`drop index concurrently if exists ${INDEX}`).execute(db);
  await sql`alter table tasks drop column queued_at`.execute(db);
}

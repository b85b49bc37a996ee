import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction. */
export const transactional = false;

const INDEXES = {
  // Of a key: how many run, how many have not ended, and which of them wait for a place of their user.
  tasks_key_idx: `(user_id, concurrency_key, status, held_by)
    where concurrency_key is not null and status in ('scheduled', 'pending', 'running', 'cancelling')`,
  // Who stands next among those that wait for the same places.
  tasks_held_idx: `(user_id, held_by, lane, priority, coalesce(queued_at, ready_at), id)
    where held_by is not null and status in ('scheduled', 'pending')`,
};

export async function up(db: Kysely<never>): Promise<void> {
  await sql`alter table tasks add column if not exists concurrency_key varchar(200),
    add column if not exists concurrency_limit integer,
    add column if not exists concurrency_policy varchar(14),
    add column if not exists held_by varchar(204),
    add column if not exists called boolean not null default false`.execute(db);
  for (const [name, definition] of Object.entries(INDEXES)) {
    // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
    const { rows } =
      await sql`select 1 from pg_index where indexrelid = to_regclass(${name}) and not indisvalid`.execute(db);
    if (rows.length > 0) await sql.raw(`drop index concurrently ${name}`).execute(db);
    await sql.raw(`create index concurrently if not exists ${name} on tasks ${definition}`).execute(db);
  }
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const name of Object.keys(INDEXES)) await sql.raw(`drop index concurrently if exists ${name}`).execute(db);
  await sql`alter table tasks drop column if exists concurrency_key, drop column if exists concurrency_limit,
    drop column if exists concurrency_policy, drop column if exists held_by, drop column if exists called`.execute(db);
}

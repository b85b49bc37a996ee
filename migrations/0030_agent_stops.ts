import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction, so every step may be done again. */
export const transactional = false;

const UP = [
  // How many attempts of a task ended only to wait outside.
  'alter table tasks add column if not exists parkings integer not null default 0',
  // Whether what an agent goes on with is not wanted any more, of which it is to be told.
  'alter table agent_calls add column if not exists stop boolean not null default false',
];

const INDEXES = {
  agent_calls_held_idx: '(agent_id, kept) where ended_at is null',
  agent_calls_ended_idx: '(agent_id, at) where ended_at is not null',
  agent_calls_kept_idx: '(task_id) where kept and ended_at is null',
  agent_calls_stop_idx: '(at) where stop and ended_at is null',
};

const OLD = 'agent_calls_running_idx';

const DOWN = [
  'alter table agent_calls drop column if exists stop',
  'alter table tasks drop column if exists parkings',
  `create index if not exists ${OLD} on agent_calls (agent_id) where ended_at is null`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
  for (const [name, what] of Object.entries(INDEXES)) {
    // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
    const { rows } = await sql`select 1 from pg_index
      where indexrelid = to_regclass(${name}) and not indisvalid`.execute(db);
    if (rows.length > 0) await sql.raw(`drop index concurrently ${name}`).execute(db);
    await sql.raw(`create index concurrently if not exists ${name} on agent_calls ${what}`).execute(db);
  }
  await sql.raw(`drop index concurrently if exists ${OLD}`).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const name of Object.keys(INDEXES)) await sql.raw(`drop index concurrently if exists ${name}`).execute(db);
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}

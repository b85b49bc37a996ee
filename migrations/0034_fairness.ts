import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction; all that is here may run twice. */
export const transactional = false;

const INDEXES = {
  // What has a job or is to have one, in the order of each class: however much waits behind, this is short.
  tasks_front_idx: `tasks (lane, priority, coalesce(queued_at, ready_at), id)
    where status in ('scheduled', 'pending') and (held_by is null or called)`,
  // What waits behind, by user, so that the next of each user is found without looking at the others.
  tasks_backlog_idx: `tasks (lane, priority, user_id, coalesce(queued_at, ready_at), id)
    where status = 'pending' and held_by = 'lane' and not called`,
  // In place of the primary key: of what waits behind, each user has places of its own.
  line_marks_idx: 'line_marks (lane, priority, user_id, place)',
};

/** What had a job beside what had none. A leader of an earlier version goes through the classes more slowly without it. */
const REPLACED = {
  tasks_line_idx: `tasks (lane, priority, coalesce(queued_at, ready_at), id) where status in ('scheduled', 'pending')`,
};

const UP = [
  // What the tasks of a user cost lately: milliseconds, or tokens in the lanes of models. What a crash of Postgres may forget.
  `create unlogged table if not exists user_costs (
    lane varchar(20) not null,
    user_id uuid not null,
    type varchar(100) not null,
    runs float8 not null,
    cost float8 not null,
    updated_at timestamptz not null default now(),
    primary key (lane, user_id, type)
  ) with (fillfactor = 50)`,
  'alter table line_marks add column if not exists user_id uuid',
  'alter table line_marks drop constraint if exists line_marks_pkey',
];

const DOWN = [
  'drop table if exists user_costs',
  'delete from line_marks',
  'alter table line_marks drop column if exists user_id',
  'alter table line_marks drop constraint if exists line_marks_pkey',
  'alter table line_marks add primary key (lane, priority, place)',
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
  await createIndexes(db, INDEXES);
  for (const name of Object.keys(REPLACED)) await sql.raw(`drop index concurrently if exists ${name}`).execute(db);
}

async function createIndexes(db: Kysely<never>, indexes: Record<string, string>): Promise<void> {
  for (const [name, definition] of Object.entries(indexes)) {
    // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
    const { rows } =
      await sql`select 1 from pg_index where indexrelid = to_regclass(${name}) and not indisvalid`.execute(db);
    if (rows.length > 0) await sql.raw(`drop index concurrently ${name}`).execute(db);
    await sql.raw(`create index concurrently if not exists ${name} on ${definition}`).execute(db);
  }
}

export async function down(db: Kysely<never>): Promise<void> {
  // Nobody who knows of no lane that holds tasks would give them a job.
  await sql`update tasks set held_by = null where held_by = 'lane' and status in ('scheduled', 'pending')`.execute(db);
  await createIndexes(db, REPLACED);
  for (const name of Object.keys(INDEXES)) await sql.raw(`drop index concurrently if exists ${name}`).execute(db);
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}

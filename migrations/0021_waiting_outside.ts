import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction, so every step may be done again. */
export const transactional = false;

// Every stored row fits the new checks, because they allow more than the old ones: so that nobody waits for a look at all of them.
const UP = [
  // A running task that awaits something has given its slot back: no worker holds it, and no lease of it runs out.
  `alter table tasks
    add column if not exists awaiting varchar(20),
    add column if not exists awaiting_until timestamptz,
    add column if not exists signals integer not null default 0,
    add column if not exists life integer not null default 0,
    drop constraint if exists tasks_check,
    drop constraint if exists tasks_held_check,
    add constraint tasks_held_check check ((status = 'running') <= (lease_until is not null or awaiting is not null)) not valid`,
  `alter table attempts
    drop constraint if exists attempts_outcome_check,
    add constraint attempts_outcome_check check (outcome in
      ('completed', 'failed', 'retry', 'released', 'cancelled', 'lost', 'parked')) not valid`,
  `alter table task_events
    drop constraint if exists task_events_type_check,
    add constraint task_events_type_check check (type in ('progress', 'log', 'cancel', 'retried', 'resumed')) not valid`,

  // What parts of a task came to, kept over its attempts.
  `create table if not exists task_memos (
    task_id uuid not null references tasks (id) on delete cascade,
    name varchar(200) not null,
    id bigint generated always as identity,
    attempt integer not null,
    kind varchar(20) not null,
    value json not null,
    started_at timestamptz not null,
    ended_at timestamptz not null default clock_timestamp(),
    primary key (task_id, name)
  )`,
];

const DOWN = [
  `drop table if exists task_memos`,
  `delete from task_events where type = 'resumed'`,
  `alter table task_events
    drop constraint if exists task_events_type_check,
    add constraint task_events_type_check check (type in ('progress', 'log', 'cancel', 'retried'))`,
  `update attempts set outcome = 'released' where outcome = 'parked'`,
  `alter table attempts
    drop constraint if exists attempts_outcome_check,
    add constraint attempts_outcome_check check (outcome in ('completed', 'failed', 'retry', 'released', 'cancelled', 'lost'))`,
  // What waits outside runs from its start again.
  `do $$ begin
    if exists (select from information_schema.columns where table_schema = current_schema()
        and table_name = 'tasks' and column_name = 'awaiting') then
      update tasks set status = 'pending', generation = generation + 1, ready_at = now(), awaiting = null where awaiting is not null;
    end if;
  end $$`,
  `alter table tasks
    drop constraint if exists tasks_held_check,
    drop constraint if exists tasks_check,
    drop column if exists awaiting,
    drop column if exists awaiting_until,
    drop column if exists signals,
    drop column if exists life,
    add constraint tasks_check check ((status = 'running') <= (lease_until is not null))`,
];

const INDEX = 'tasks_awaiting_until_idx';

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
  // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
  const { rows } =
    await sql`select 1 from pg_index where indexrelid = to_regclass(${INDEX}) and not indisvalid`.execute(db);
  if (rows.length > 0) await sql.raw(`drop index concurrently ${INDEX}`).execute(db);
  await sql
    .raw(
      `create index concurrently if not exists ${INDEX} on tasks (awaiting_until, status) where awaiting is not null`,
    )
    .execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql.raw(`drop index concurrently if exists ${INDEX}`).execute(db);
  for (const statement of DOWN) await sql.raw(statement).execute(db);
}

import { type Kysely, sql } from 'kysely';

/** `create index concurrently` cannot run inside a transaction; all that is here may run twice. */
export const transactional = false;

const TABLES = [
  // The words and tags by which tasks are found, newest first: an entry of each list for each task that has one.
  `create table if not exists task_terms (
    task_id uuid not null,
    user_id uuid not null,
    term text collate "C" not null,
    primary key (task_id, term)
  )`,
  `create index if not exists task_terms_user_idx on task_terms (user_id, term, task_id)`,
  `create index if not exists task_terms_term_idx on task_terms (term, task_id)`,

  // What a crash of Postgres may forget, because it is written anew within seconds; so it costs no log.
  // The processes that work, as they say themselves.
  `create unlogged table if not exists workers (
    name varchar(100) primary key,
    version varchar(40) not null,
    lanes jsonb not null check (jsonb_typeof(lanes) = 'object'),
    down jsonb not null check (jsonb_typeof(down) = 'array'),
    loading jsonb not null check (jsonb_typeof(loading) = 'array'),
    started_at timestamptz not null,
    seen_at timestamptz not null default now()
  ) with (fillfactor = 50)`,
  // How much each lane did in a minute, counted since 1970.
  `create unlogged table if not exists lane_minutes (
    lane varchar(20) not null,
    minute integer not null,
    started integer not null,
    completed integer not null,
    failed integer not null,
    runs integer not null,
    run_ms float8 not null,
    run_ms_squared float8 not null,
    primary key (lane, minute)
  ) with (fillfactor = 50)`,
  // Every thousandth task of a class that waits, so that a place far behind can be told without counting.
  `create unlogged table if not exists line_marks (
    lane varchar(20) not null,
    priority smallint not null,
    place integer not null,
    since timestamptz not null,
    task_id uuid not null,
    marked_at timestamptz not null default now(),
    primary key (lane, priority, place)
  )`,
];

const INDEXES = {
  // In place of those over (user_id, status, id) and (status, id): the types are few, so their lists are merged where none is given.
  tasks_user_id_status_type_idx: 'tasks (user_id, status, type, id desc)',
  tasks_status_type_idx: 'tasks (status, type, id desc)',
  // These cost nothing where the column is empty.
  tasks_user_id_model_idx: 'tasks (user_id, model, id desc) where model is not null',
  tasks_model_idx: 'tasks (model, id desc) where model is not null',
  tasks_user_id_error_idx: `tasks (user_id, (error ->> 'code'), id desc) where error is not null`,
  tasks_error_idx: `tasks ((error ->> 'code'), id desc) where error is not null`,
  tasks_user_id_agent_id_idx: 'tasks (user_id, agent_id, id desc) where agent_id is not null',
  tasks_agent_id_id_idx: 'tasks (agent_id, id desc) where agent_id is not null',
  tasks_parent_id_id_idx: 'tasks (parent_id, id desc) where parent_id is not null',
  tasks_schedule_id_id_idx: 'tasks (schedule_id, id desc) where schedule_id is not null',
};

/** What the new indexes do as well. */
const REPLACED = {
  tasks_user_id_status_idx: 'tasks (user_id, status, id desc)',
  tasks_status_idx: 'tasks (status, id desc)',
  tasks_agent_id_idx: 'tasks (agent_id) where agent_id is not null',
  tasks_parent_id_idx: 'tasks (parent_id) where parent_id is not null',
};

const BACKFILL = 5_000;

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of TABLES) await sql.raw(statement).execute(db);
  await createTerms(db);
  await createIndexes(db, INDEXES);
  for (const name of Object.keys(REPLACED)) await sql.raw(`drop index concurrently if exists ${name}`).execute(db);
}

/** The trigger is there before the tasks of earlier are gone through, so that older processes that still accept miss none. */
async function createTerms(db: Kysely<never>): Promise<void> {
  // The database may know no letters but those of English; these collations do, where Postgres has them.
  const { rows } = await sql<{ name: string }>`
    select collname as name from pg_collation where collnamespace = 'pg_catalog'::regnamespace
      and collname in ('pg_c_utf8', 'und-x-icu') and collencoding in (-1, pg_char_to_encoding(getdatabaseencoding()))
    order by collname = 'pg_c_utf8' desc limit 1`.execute(db);
  const collation = rows[0] ? ` collate "${rows[0].name}"` : '';
  const statements = [
    `create or replace function task_words(given text) returns text[] language sql immutable parallel safe as $$
      select array_remove(regexp_split_to_array(lower(given${collation}), '[^[:alnum:]]+'), '')
    $$`,
    // A tag is a term with a # before it; a word that is a tag as well is not there twice. Of very many words, some are left out.
    `create or replace function find_task_terms(title text, tags text[]) returns setof text language sql immutable as $$
      select '#' || tag from unnest(tags) as tag
      union
      (select distinct left(word, 100) from unnest(task_words(concat_ws(' ', title, array_to_string(tags, ' ')))) as word
        where word <> all(tags) limit 100)
    $$`,
    `create or replace function store_task_terms() returns trigger language plpgsql as $$
      begin
        if tg_op <> 'INSERT' then
          delete from task_terms where task_id = old.id;
        end if;
        if tg_op <> 'DELETE' then
          insert into task_terms (task_id, user_id, term)
            select new.id, new.user_id, term from find_task_terms(new.title, new.tags) as term on conflict do nothing;
        end if;
        return null;
      end $$`,
    `create or replace trigger tasks_terms_inserted after insert on tasks for each row
      when (new.title is not null or new.tags <> '{}') execute function store_task_terms()`,
    `create or replace trigger tasks_terms_changed after update of title, tags on tasks for each row
      when (old.title is distinct from new.title or old.tags <> new.tags) execute function store_task_terms()`,
    `create or replace trigger tasks_terms_deleted after delete on tasks for each row
      when (old.title is not null or old.tags <> '{}') execute function store_task_terms()`,
  ];
  for (const statement of statements) await sql.raw(statement).execute(db);

  for (let last: string | undefined = '00000000-0000-0000-0000-000000000000'; last; ) {
    const { rows: done }: { rows: Array<{ last: string | null }> } = await sql<{ last: string | null }>`
      with page as (select id, user_id, title, tags from tasks where id > ${last} order by id limit ${BACKFILL}),
      stored as (
        insert into task_terms (task_id, user_id, term)
        select id, user_id, term from page, find_task_terms(title, tags) as term on conflict do nothing
      )
      select (select id from page order by id desc limit 1) as last`.execute(db);
    last = done[0]?.last ?? undefined;
  }
}

async function createIndexes(db: Kysely<never>, indexes: Record<string, string>): Promise<void> {
  for (const [name, columns] of Object.entries(indexes)) {
    // What a killed run leaves behind is an invalid index under the same name: unused, but still written to.
    const { rows } = await sql`select 1 from pg_index
      where indexrelid = to_regclass(${name}) and not indisvalid`.execute(db);
    if (rows.length > 0) await sql.raw(`drop index concurrently ${name}`).execute(db);
    await sql.raw(`create index concurrently if not exists ${name} on ${columns}`).execute(db);
  }
}

export async function down(db: Kysely<never>): Promise<void> {
  await createIndexes(db, REPLACED);
  for (const name of Object.keys(INDEXES)) await sql.raw(`drop index concurrently if exists ${name}`).execute(db);
  for (const name of ['inserted', 'changed', 'deleted'])
    await sql.raw(`drop trigger if exists tasks_terms_${name} on tasks`).execute(db);
  for (const name of ['store_task_terms()', 'find_task_terms(text, text[])', 'task_words(text)'])
    await sql.raw(`drop function if exists ${name}`).execute(db);
  for (const table of ['line_marks', 'lane_minutes', 'workers', 'task_terms'])
    await sql.raw(`drop table if exists ${table}`).execute(db);
}

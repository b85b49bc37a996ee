import { type Kysely, sql } from 'kysely';

const UP = [
  // Every agent is due at once; those that are switched off stand in no index, so that they cost nothing.
  `alter table agents add column next_probe_at timestamptz not null default now()`,
  `create index agents_next_probe_at_idx on agents (next_probe_at) where is_active`,

  `create table agent_health (
    agent_id uuid primary key references agents (id) on delete cascade,
    state varchar(10) not null default 'unknown' check (state in ('healthy', 'degraded', 'down', 'unknown')),
    probe_failures integer not null default 0,
    call_failures integer not null default 0,
    openings integer not null default 0,
    opened_until timestamptz,
    heard_at timestamptz,
    note varchar(500),
    last_error jsonb,
    probe_p50_ms integer,
    probe_p95_ms integer,
    call_p50_ms integer,
    call_p95_ms integer,
    appointed_at timestamptz not null default now()
  ) with (fillfactor = 70)`,

  // They hang on the row that whoever writes them has locked already: no key of the agent is locked in another order.
  `create table agent_probes (
    id bigint generated always as identity primary key,
    agent_id uuid not null references agent_health (agent_id) on delete cascade,
    source varchar(5) not null check (source in ('probe', 'call')),
    ok boolean not null,
    status smallint,
    latency_ms integer not null,
    error varchar(500),
    at timestamptz not null default clock_timestamp()
  )`,
  `create index agent_probes_agent_id_idx on agent_probes (agent_id, source, id desc)`,
  `create index agent_probes_at_idx on agent_probes (at)`,

  `create table agent_calls (
    id uuid primary key,
    agent_id uuid not null references agent_health (agent_id) on delete cascade,
    task_id uuid not null,
    attempt integer not null,
    kept boolean not null default false,
    at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
  )`,
  `create index agent_calls_agent_id_idx on agent_calls (agent_id, at desc)`,
  `create index agent_calls_running_idx on agent_calls (agent_id) where ended_at is null`,
];

export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of UP) await sql.raw(statement).execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const table of ['agent_calls', 'agent_probes', 'agent_health']) await sql.raw(`drop table ${table}`).execute(db);
  await sql`alter table agents drop column next_probe_at`.execute(db);
}

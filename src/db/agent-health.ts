import { type Selectable, sql, type Transaction, type Updateable } from 'kysely';
import { interval, running, stateNow } from './agent-candidates.ts';
import type { Db } from './connect.ts';
import type { AgentHealthTable, AgentProbeTable, AgentState, Database, HeardBy } from './schema.ts';

export type AgentHealthRow = Selectable<AgentHealthTable>;
export type AgentProbeRow = Selectable<AgentProbeTable>;

/** How many outcomes of each kind are kept of an agent, and for how long at most. */
export const OUTCOMES_KEPT = 100;
export const OUTCOME_HOURS = 24;

/** Holds what is known of an agent until the transaction ends; `undefined` for an agent that is gone. */
export async function holdHealth(
  trx: Transaction<Database>,
  agentId: string,
): Promise<(AgentHealthRow & { now: Date }) | undefined> {
  const held = sql<AgentHealthRow & { now: Date }>`
    select h.*, clock_timestamp() as now from agent_health h where agent_id = ${agentId} for no key update`;
  const [row] = (await held.execute(trx)).rows;
  if (row) return row;
  await sql`insert into agent_health (agent_id) select id from agents where id = ${agentId}
    on conflict do nothing`.execute(trx);
  return (await held.execute(trx)).rows[0];
}

/** How many active agents there are of each state. */
export async function countAgentStates(db: Db): Promise<Map<AgentState, number>> {
  const { rows } = await sql<{ state: AgentState; count: number }>`
    select ${stateNow} as state, count(*)::int as count from agents a left join agent_health h on h.agent_id = a.id
    where a.is_active group by 1`.execute(db);
  return new Map(rows.map(({ state, count }) => [state, count]));
}

export async function writeHealth(
  trx: Transaction<Database>,
  agentId: string,
  change: Updateable<AgentHealthTable>,
): Promise<void> {
  await trx.updateTable('agent_health').set(change).where('agent_id', '=', agentId).execute();
}

/** What was heard of an agent. */
export interface NewOutcome {
  source: HeardBy;
  ok: boolean;
  status: number | null;
  latency_ms: number;
  error: string | null;
}

/** Adds an outcome to the history and takes away what is too old or too much; answers what is kept, newest first. */
export async function addOutcome(
  trx: Transaction<Database>,
  agentId: string,
  outcome: NewOutcome,
): Promise<AgentProbeRow[]> {
  const { source } = outcome;
  await sql`
    with gone as (
      delete from agent_probes where agent_id = ${agentId} and source = ${source}
        and (at < now() - ${OUTCOME_HOURS}::int * interval '1 hour' or id <= (
          select id from agent_probes where agent_id = ${agentId} and source = ${source}
          order by id desc offset ${OUTCOMES_KEPT - 1} limit 1))
    )
    insert into agent_probes (agent_id, source, ok, status, latency_ms, error)
    values (${agentId}, ${source}, ${outcome.ok}, ${outcome.status}, ${outcome.latency_ms}, ${outcome.error})`.execute(
    trx,
  );
  return listOutcomes(trx, agentId);
}

/** The outcomes that are kept of an agent, newest first. */
export async function listOutcomes(db: Db, agentId: string, limit = 2 * OUTCOMES_KEPT): Promise<AgentProbeRow[]> {
  return db
    .selectFrom('agent_probes')
    .selectAll()
    .where('agent_id', '=', agentId)
    .where('at', '>', sql<Date>`now() - ${OUTCOME_HOURS}::int * interval '1 hour'`)
    .orderBy('id', 'desc')
    .limit(limit)
    .execute();
}

/** What is known of an agent, by the clock of the database; `undefined` where nothing was heard of it yet. */
export async function findHealth(db: Db, agentId: string): Promise<(AgentHealthRow & { now: Date }) | undefined> {
  const { rows } = await sql<AgentHealthRow & { now: Date }>`
    select h.*, clock_timestamp() as now from agent_health h where agent_id = ${agentId}`.execute(db);
  return rows[0];
}

/** How long nobody looks at an agent whose owner's account is switched off. */
const OWNER_OFF_MS = 60_000;

/**
 * Agents that have to be asked how they are, the longest due first. They are due again after `leaseMs`: whoever asks them
 * says before when the next time is, unless it is gone by then.
 */
export async function takeDueAgents(db: Db, limit: number, leaseMs: number): Promise<string[]> {
  const { rows } = await sql<{ id: string; wanted: boolean }>`
    update agents a set next_probe_at = clock_timestamp()
      + case when due.wanted then ${leaseMs}::int else ${OWNER_OFF_MS}::int end * interval '1 millisecond'
    from (
      select id, user_id is null or exists (select from users u where u.id = user_id and u.is_active) as wanted
      from agents where is_active and next_probe_at <= now() order by next_probe_at limit ${limit}
      for no key update skip locked
    ) due where a.id = due.id
    returning a.id, due.wanted`.execute(db);
  return rows.flatMap(({ id, wanted }) => (wanted ? [id] : []));
}

/** Says when an agent is asked next. */
export async function probeIn(db: Db, agentId: string, ms: number): Promise<void> {
  await sql`update agents set next_probe_at = clock_timestamp() + ${Math.round(ms)}::int * interval '1 millisecond'
    where id = ${agentId}`.execute(db);
}

/** Forgets what is known of an agent, as after it moved elsewhere, and has it asked at once. Places that are taken stay taken. */
export async function forgetHealth(trx: Transaction<Database>, agentId: string): Promise<void> {
  if (!(await holdHealth(trx, agentId))) return;
  await trx.deleteFrom('agent_probes').where('agent_id', '=', agentId).execute();
  await writeHealth(trx, agentId, {
    ...{ state: 'unknown', probe_failures: 0, call_failures: 0, openings: 0, opened_until: null, heard_at: null },
    ...{ note: null, last_error: null },
    ...{ probe_p50_ms: null, probe_p95_ms: null, call_p50_ms: null, call_p95_ms: null },
  });
  await probeIn(trx, agentId, 0);
}

/** An agent as it is known now. */
export type HealthNow = Omit<AgentHealthRow, 'appointed_at'> & {
  now: Date;
  next_probe_at: Date;
  interval_seconds: number;
  running: number;
};

/** How an agent is now; `undefined` for one that is gone. One of which nothing was heard yet has a state, too. */
export async function findHealthNow(db: Db, agentId: string): Promise<HealthNow | undefined> {
  const { rows } = await sql<HealthNow>`
    select a.id as agent_id, ${stateNow} as state, coalesce(h.probe_failures, 0) as probe_failures,
      coalesce(h.call_failures, 0) as call_failures, coalesce(h.openings, 0) as openings, h.opened_until, h.heard_at, h.note,
      h.last_error, h.probe_p50_ms, h.probe_p95_ms, h.call_p50_ms, h.call_p95_ms, clock_timestamp() as now,
      a.next_probe_at, ${interval} as interval_seconds, ${running} as running
    from agents a left join agent_health h on h.agent_id = a.id where a.id = ${agentId}`.execute(db);
  return rows[0];
}

import { type Selectable, sql } from 'kysely';
import { isTaken } from './agent-calls.ts';
import type { Db } from './connect.ts';
import type { AgentState, AgentTable } from './schema.ts';

/** An agent that may do something, and how it is now. */
export type Candidate = Selectable<AgentTable> & { state: AgentState; running: number };

/** More are not looked at: whoever has that many finds a place among them. */
const MOST = 50;
/** Nor are more of the calls of one counted: it is busy by then. */
const MOST_CALLS = 100;

/** How often an agent (`a`) is asked how it is, in seconds; see the schema of its configuration. */
export const interval = sql`coalesce((a.config -> 'health' ->> 'interval_seconds')::int, 30)`;

/**
 * How an agent is now: as it was when something was heard of it (`h`) last, unless that is too long ago. An agent is heard of
 * once an interval; a second one is for what a probe takes, and for a worker that was killed while it asked.
 */
export const stateNow = sql<AgentState>`(case when h.heard_at > now() - (2 * ${interval} + 10) * interval '1 second'
  then h.state else 'unknown' end)`;

/** How many calls of an agent (`a`) are under way. */
export const running = sql`(select count(*)::int from agent_calls c where c.agent_id = a.id and ${isTaken})`;

/** The active agents of a user, and those of everybody, that have a capability: the best first. */
export async function listCandidates(db: Db, userId: string | null, capability: string): Promise<Candidate[]> {
  const { rows } = await sql<Candidate>`
    select a.*, ${stateNow} as state,
      (select count(*)::int from (
        select from agent_calls c where c.agent_id = a.id and ${isTaken} limit ${MOST_CALLS}) few) as running
    from agents a left join agent_health h on h.agent_id = a.id
    where a.is_active and a.deleted_at is null and (a.user_id = ${userId} or a.user_id is null)
      and a.capabilities ? ${capability}
    order by array_position(array['healthy', 'degraded', 'unknown', 'down'], ${stateNow}::text), running,
      coalesce(h.call_p50_ms, h.probe_p50_ms) nulls last, a.id
    limit ${MOST}`.execute(db);
  return rows;
}

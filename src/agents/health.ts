import { type AgentHealthRow, type AgentProbeRow, addOutcome, holdHealth, writeHealth } from '../db/agent-health.ts';
import type { Db } from '../db/connect.ts';
import type { AgentState, HeardBy } from '../db/schema.ts';
import type { TaskError } from '../errors.ts';

/** What was heard of an agent once. */
export interface Outcome {
  source: HeardBy;
  latencyMs: number;
  /** Why that counts as a failure of the agent: it gave no answer, broke it off, or answered that something in it failed. */
  failure?: string;
  /** What is not as it should be although it answered. */
  note?: string;
  /** The HTTP status, where there was an answer. */
  status?: number;
}

/** `closed` lets calls through, `open` turns them away, `half_open` lets a probe and one call at a time find out. */
export type Circuit = 'closed' | 'open' | 'half_open';

export type Standing = Pick<AgentHealthRow, 'probe_failures' | 'call_failures' | 'openings' | 'opened_until'>;

/** So many failures one after the other open the circuit. A probe that failed was tried twice. */
const FAILURES: Record<HeardBy, number> = { probe: 2, call: 5 };
/** How long it stays open doubles with each opening, with jitter; never longer than until the next probe would have been. */
const MIN_OPEN_MS = 1_000;
const MAX_OPEN_MS = 60_000;
/** An agent is degraded when of its last outcomes within these minutes so many failed. */
const RECENT = { outcomes: 20, minutes: 10, failed: 0.2 };
const MAX_TEXT = 500;

/** How the circuit of an agent stands. */
export function circuitOf({ opened_until }: Pick<Standing, 'opened_until'>, now: Date): Circuit {
  if (opened_until === null) return 'closed';
  return opened_until > now ? 'open' : 'half_open';
}

/**
 * Where an agent stands after an outcome. A probe that succeeds closes the circuit on trial: what opened it may have been
 * calls, and until one of them succeeds a single failure opens it again, for longer.
 */
export function standingAfter(
  before: Standing,
  { source, failure }: Pick<Outcome, 'source' | 'failure'>,
  now: Date,
  { intervalMs, random = Math.random }: { intervalMs: number; random?: () => number },
): Standing {
  if (failure === undefined) {
    if (source === 'call') return { probe_failures: 0, call_failures: 0, openings: 0, opened_until: null };
    return { ...before, probe_failures: 0, opened_until: null };
  }
  const circuit = circuitOf(before, now);
  // A call that began before it opened says nothing new.
  if (circuit === 'open') return before;
  const count = `${source}_failures` as const;
  const failed = { ...before, [count]: before[count] + 1 };
  if (circuit === 'closed' && before.openings === 0 && failed[count] < FAILURES[source]) return failed;
  const bound = Math.min(MAX_OPEN_MS, intervalMs, MIN_OPEN_MS * 2 ** Math.min(before.openings, 20));
  const openMs = bound / 2 + (bound / 2) * random();
  return { ...failed, openings: before.openings + 1, opened_until: new Date(now.getTime() + openMs) };
}

/** How an agent is. @param outcomes the last ones, newest first */
export function stateOf(
  standing: Pick<AgentHealthRow, 'opened_until' | 'probe_failures' | 'note'>,
  outcomes: Array<Pick<AgentProbeRow, 'ok' | 'at'>>,
  now: Date,
): AgentState {
  if (standing.opened_until !== null || standing.probe_failures > 0) return 'down';
  const since = now.getTime() - RECENT.minutes * 60_000;
  const recent = outcomes.slice(0, RECENT.outcomes).filter(({ at }) => at.getTime() >= since);
  const failed = recent.filter(({ ok }) => !ok).length;
  if (failed > 0 && failed >= recent.length * RECENT.failed) return 'degraded';
  if (standing.note !== null) return 'degraded';
  return outcomes.length > 0 ? 'healthy' : 'unknown';
}

/**
 * What is kept of a call that failed. Nothing of what the agent said: whoever may use it sees this, and only who called it
 * that. `undefined` for an error that the agent is not to blame for.
 */
export function failureOf({ code, outage }: TaskError): string | undefined {
  if (outage === undefined) return undefined;
  return outage === 'away' ? `A call brought no answer (${code}).` : `A call was answered with an error (${code}).`;
}

/** The value below which this part of the numbers lies, by the nearest rank; `null` where there are none. */
export function percentile(numbers: number[], part: number): number | null {
  const sorted = numbers.toSorted((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? null;
}

/**
 * Counts what was heard of an agent, for all processes: history, latencies, state and circuit.
 * @param intervalMs how often it is probed
 * @returns where it stands now; `undefined` for an agent that is gone
 */
export async function reportOutcome(
  db: Db,
  agentId: string,
  outcome: Outcome,
  intervalMs: number,
): Promise<(Standing & { state: AgentState; now: Date }) | undefined> {
  const { source, status, note } = outcome;
  const failure = outcome.failure?.slice(0, MAX_TEXT);
  return db.transaction().execute(async (trx) => {
    const before = await holdHealth(trx, agentId);
    if (!before) return undefined;
    const { now, probe_failures, call_failures, openings, opened_until } = before;
    const latency_ms = Math.max(0, Math.round(outcome.latencyMs));
    const outcomes = await addOutcome(trx, agentId, {
      ...{ source, latency_ms, ok: failure === undefined, status: status ?? null, error: failure ?? null },
    });
    const stood = { probe_failures, call_failures, openings, opened_until };
    const standing = standingAfter(stood, { source, failure }, now, { intervalMs });
    // Only a probe looks at what a note is about.
    const noted = source === 'probe' ? (note?.slice(0, MAX_TEXT) ?? null) : before.note;
    const state = stateOf({ ...standing, note: noted }, outcomes, now);
    const latencies = outcomes.filter((one) => one.ok && one.source === source).map((one) => one.latency_ms);
    await writeHealth(trx, agentId, {
      ...standing,
      ...{ state, heard_at: now, note: noted },
      ...(failure === undefined
        ? {}
        : { last_error: JSON.stringify({ message: failure, source, at: now.toISOString() }) }),
      [`${source}_p50_ms`]: percentile(latencies, 0.5),
      [`${source}_p95_ms`]: percentile(latencies, 0.95),
    });
    return { ...standing, state, now };
  });
}

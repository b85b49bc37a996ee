import { type CallLimits, endCall, endKeptCalls, insertCall, keepCall } from '../db/agent-calls.ts';
import { holdHealth, writeHealth } from '../db/agent-health.ts';
import type { Db } from '../db/connect.ts';
import { newId } from '../db/ids.ts';
import { TaskError } from '../errors.ts';
import { circuitOf } from './health.ts';

/** A place of an agent. It is free again once it is given back, and by itself when the attempt that has it is over. */
export interface Permit {
  id: string;
  agentId: string;
}

/** Why there is no place now: the circuit is open, as many calls are under way as may, or began within a minute. */
export interface NoPermit {
  why: 'open' | 'full' | 'rate' | 'gone';
  /** When to ask again. */
  laterMs: number;
}

interface Asking {
  agentId: string;
  /** The attempt that the place hangs on. */
  taskId: string;
  attempt: number;
  limits: CallLimits;
  /** Whether who finds no place comes back when it is told to, which nobody else is told then. */
  appoint?: boolean;
}

/** How long a call takes of an agent that none ended of yet. */
const USUAL_CALL_MS = 1_000;
/** Those who found no place come back one after the other, as places become free; no closer and no later than this. */
const MIN_APART_MS = 50;
const MAX_AHEAD_MS = 30_000;

/** Takes a place of an agent, where its circuit, its concurrency and its rate let one more call through. */
export async function takePermit(
  db: Db,
  { agentId, taskId, attempt, limits, appoint: comesBack = true }: Asking,
): Promise<{ permit: Permit } | NoPermit> {
  return db.transaction().execute(async (trx) => {
    const health = await holdHealth(trx, agentId);
    if (!health) return { why: 'gone', laterMs: 0 };
    const { now, openings } = health;
    if (health.opened_until && circuitOf(health, now) === 'open')
      return { why: 'open', laterMs: health.opened_until.getTime() - now.getTime() };
    const call = { id: newId(), agent_id: agentId, task_id: taskId, attempt };
    // Until a call succeeds, one at a time tries whether the agent is back.
    const trial = openings > 0;
    const { given, running, free_at } = await insertCall(trx, call, { ...limits, trial });
    if (given) return { permit: { id: call.id, agentId } };
    if (free_at) return { why: 'rate', laterMs: await appoint(free_at, 60_000 / (limits.perMinute ?? 1)) };
    const each = health.call_p50_ms ?? health.probe_p50_ms ?? USUAL_CALL_MS;
    return { why: 'full', laterMs: await appoint(now, each / (trial ? 1 : Math.max(1, running))) };

    /** The next time at which a place is likely to be free that nobody else was told of. */
    async function appoint(from: Date, apartMs: number): Promise<number> {
      const after = Math.max(health!.appointed_at.getTime(), from.getTime());
      let at = after + Math.max(MIN_APART_MS, apartMs);
      const last = from.getTime() + MAX_AHEAD_MS;
      // Too many wait to be told apart. They are spread, so that they do not come all at once.
      if (at > last) at = last - (MAX_AHEAD_MS / 2) * Math.random();
      else if (comesBack) await writeHealth(trx, agentId, { appointed_at: new Date(at) });
      return Math.ceil(at - now.getTime());
    }
  });
}

/** Gives a place back; more than once does no harm. */
export function releasePermit(db: Db, { id }: Permit): Promise<void> {
  return endCall(db, id);
}

/** The agent goes on with what it was called for while the task is parked: the place is taken until that is over. */
export function keepPermit(db: Db, { id }: Permit): Promise<void> {
  return keepCall(db, id);
}

/** What a task kept of an agent is over: it called back, or was given up. Answers how many ms that took, if anything was kept. */
export function endKept(db: Db, agentId: string, taskId: string): Promise<number | undefined> {
  return endKeptCalls(db, agentId, taskId);
}

/** What a task hears that gets no place: it waits, and the attempt does not count. */
export function turnedAway(agent: { name: string }, { why, laterMs: retryAfterMs }: NoPermit): TaskError {
  const later = { later: true, retryAfterMs };
  if (why === 'gone') return new TaskError('agent_not_found', `The agent ${agent.name} is gone.`);
  if (why === 'open')
    return new TaskError(
      'upstream_unavailable',
      `The agent ${agent.name} keeps failing and is left alone for a moment.`,
      later,
    );
  if (why === 'full')
    return new TaskError('agent_busy', `The agent ${agent.name} has as many calls as it may have at a time.`, later);
  return new TaskError('agent_busy', `The agent ${agent.name} was called as often as it may be in a minute.`, later);
}

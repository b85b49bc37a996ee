import type { Agent } from '../../../agents/agent.ts';
import { failureOf, reportOutcome } from '../../../agents/health.ts';
import {
  endKept,
  keepPermit,
  type NoPermit,
  type Permit,
  releasePermit,
  takePermit,
  turnedAway,
} from '../../../agents/permits.ts';
import type { Db } from '../../../db/connect.ts';
import { TaskError } from '../../../errors.ts';
import type { Logger } from '../../../log.ts';
import { type Attempt, Parked } from '../../attempt.ts';

/** What was thrown for one agent says nothing of the one that called it. */
const reported = new WeakSet<Error>();

/** Does what an agent wants of a tool: what fails then says nothing of the agent. */
export async function apart<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error) reported.add(error);
    throw error;
  }
}

/** The way into an agent and out of it again: who finds a place, how long it is kept, and what is told of how the agent did. */
export interface Places {
  /** Takes a place of the first that has one. @throws TaskError, later, where none has */
  enter<T extends { agent: Agent }>(candidates: T[]): Promise<T & { permit: Permit }>;
  /** Does a call that has a place, and gives it back. */
  hold<T>(agent: Agent, permit: Permit, work: () => Promise<T>): Promise<T>;
  /** Looks after a call that was made before, and needs no place. */
  awaiting<T>(agent: Agent, work: () => Promise<T>): Promise<T>;
}

/** Makes them for one attempt. */
export function createPlaces({ task }: Attempt, { db, log }: { db: Db; log: Logger }): Places {
  /** That it cannot be told is no fault of the call, which may have succeeded. */
  const quietly = (what: string) => (error: unknown) =>
    log.warn({ err: error, task_id: task.id }, `${what} could not be written`);

  async function report(agent: Agent, latencyMs: number, failure?: string): Promise<void> {
    const intervalMs = agent.config.health.interval_seconds * 1_000;
    await reportOutcome(
      db,
      agent.id,
      { source: 'call', latencyMs, ...(failure === undefined ? {} : { failure }) },
      intervalMs,
    ).catch(quietly('how an agent did'));
  }

  function ask({ id: agentId, config }: Agent, appoint: boolean): ReturnType<typeof takePermit> {
    const { max_concurrency: concurrency = null, rate_per_minute: perMinute = null } = config;
    const limits = { concurrency, perMinute };
    return takePermit(db, { agentId, taskId: task.id, attempt: task.attempt, limits, appoint });
  }

  const giveBack = (permit: Permit) => releasePermit(db, permit).catch(quietly('that a place is free'));

  /** What an error says of the agent: that it failed, that it answered at least, or nothing. */
  async function reportError(agent: Agent, latencyMs: number, error: unknown): Promise<void> {
    if (error instanceof Parked) return report(agent, latencyMs);
    if (!(error instanceof TaskError) || reported.has(error) || error.code === 'egress_refused') return;
    reported.add(error);
    if (error.outage) return report(agent, latencyMs, failureOf(error));
    if (error.code.startsWith('upstream_') || error.code === 'agent_failed') await report(agent, latencyMs);
  }

  return {
    async enter(candidates) {
      const only = candidates.length === 1;
      let away: { candidate: (typeof candidates)[number]; why: NoPermit } | undefined;
      for (const candidate of candidates) {
        const asked = await ask(candidate.agent, only);
        if ('permit' in asked) return { ...candidate, permit: asked.permit };
        // One that was removed just now says nothing of when the others have room.
        const sooner = asked.why !== 'gone' && asked.laterMs < (away?.why.laterMs ?? 0);
        if (!away || away.why.why === 'gone' || sooner) away = { candidate, why: asked };
      }
      if (!away) throw new TaskError('agent_not_found', 'There is no such agent.');
      const { candidate } = away;
      // It comes back once, so it is told so of one of them alone.
      const again = only ? away.why : await ask(candidate.agent, true);
      if ('permit' in again) return { ...candidate, permit: again.permit };
      const error = turnedAway(candidate.agent, again);
      reported.add(error);
      throw error;
    },

    async hold(agent, permit, work) {
      const began = performance.now();
      try {
        const answer = await work();
        await report(agent, performance.now() - began);
        await giveBack(permit);
        return answer;
      } catch (error) {
        await reportError(agent, performance.now() - began, error);
        // It goes on with what it was asked for.
        if (error instanceof Parked) await keepPermit(db, permit).catch(quietly('that a place is kept'));
        else await giveBack(permit);
        throw error;
      }
    },

    async awaiting(agent, work) {
      const end = () => endKept(db, agent.id, task.id).catch(quietly('that a place is free'));
      try {
        const answer = await work();
        // It was at work for as long as its place was kept; where nothing is left of that, the answer has come all the same.
        await report(agent, (await end()) ?? 0);
        return answer;
      } catch (error) {
        if (error instanceof TaskError && error.code === 'callback_timeout')
          await report(agent, 0, 'It did not call back in time.');
        if (!(error instanceof Parked)) await end();
        throw error;
      }
    },
  };
}

import { probeIn, takeDueAgents } from '../db/agent-health.ts';
import { type AgentRow, findAgent } from '../db/agents.ts';
import type { Db } from '../db/connect.ts';
import { errorMessage, TaskError } from '../errors.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { SecretBox } from '../secretbox.ts';
import { agentOf } from './agent.ts';
import { type Outcome, reportOutcome } from './health.ts';
import { PROBE_MS, type Probe, probeMs } from './probe.ts';

interface Checking {
  db: Db;
  box: SecretBox;
  probe: Probe;
}

/** Asks the active agents how they are, each when its time has come. Any number of processes may do it. */
export interface Prober {
  /** Asks those who are due; answers how many. It does not wait for them. */
  start(): Promise<number>;
  close(): Promise<void>;
}

const EVERY_MS = 500;
/** How many agents are asked at a time, so that some who do not answer hold up nobody. */
const PARALLEL = 100;
/** Of a worker that was killed meanwhile, others ask again. */
const LEASE_MS = PROBE_MS + 2_000;
/** For one of whose configuration nothing is known, because it cannot be read. */
const USUAL_INTERVAL_MS = 30_000;
/** Agents that were made together are not asked together for ever: each time comes a part earlier. */
const JITTER = 0.2;

/** Starts to ask. */
export function createProber({
  log,
  everyMs = EVERY_MS,
  parallel = PARALLEL,
  ...checking
}: Checking & { log: Logger; everyMs?: number; parallel?: number }): Prober {
  const { db } = checking;
  const closing = new AbortController();
  const underWay = new Set<Promise<void>>();

  async function one(id: string): Promise<void> {
    const row = await findAgent(db, id);
    if (row) await checkAgent(checking, row, closing.signal);
  }

  async function start(): Promise<number> {
    const room = parallel - underWay.size;
    if (room <= 0 || closing.signal.aborted) return 0;
    const due = await takeDueAgents(db, room, LEASE_MS);
    for (const id of due) {
      const asked = one(id).catch(async (error) => {
        if (closing.signal.aborted) return;
        log.warn({ err: error, agent_id: id }, `an agent could not be asked how it is: ${errorMessage(error)}`);
        await probeIn(db, id, USUAL_INTERVAL_MS).catch(() => {});
      });
      underWay.add(asked);
      void asked.then(() => underWay.delete(asked));
    }
    return due.length;
  }

  const stop = repeat(
    everyMs,
    async () => void (await start()),
    (error) => log.debug({ err: error }, 'agents could not be looked at; tried again'),
  );
  return {
    start,
    async close() {
      closing.abort();
      await stop();
      await Promise.all(underWay);
    },
  };
}

/** Asks one agent how it is, counts it, and says when it is asked next. */
export async function checkAgent({ db, box, probe }: Checking, row: AgentRow, signal: AbortSignal): Promise<Outcome> {
  const { outcome, intervalMs } = await askAgent({ box, probe }, row, signal);
  const standing = await reportOutcome(db, row.id, outcome, intervalMs);
  if (!standing) return outcome;
  const { opened_until, now } = standing;
  await probeIn(db, row.id, opened_until ? opened_until.getTime() - now.getTime() : nextMs(intervalMs));
  return outcome;
}

async function askAgent({ box, probe }: Pick<Checking, 'box' | 'probe'>, row: AgentRow, signal: AbortSignal) {
  try {
    const agent = agentOf(row, box);
    return { outcome: await probe(agent, signal), intervalMs: agent.config.health.interval_seconds * 1_000 };
  } catch (error) {
    if (!(error instanceof TaskError)) throw error;
    const outcome: Outcome = { source: 'probe', latencyMs: 0, failure: error.message };
    return { outcome, intervalMs: USUAL_INTERVAL_MS };
  }
}

/** It is noticed a little after it is due, and it takes its time to say that there is no answer; all of that shall be within the interval. */
function nextMs(intervalMs: number): number {
  const most = intervalMs - EVERY_MS - probeMs(intervalMs);
  return Math.max(intervalMs / 4, most * (1 - JITTER * Math.random()));
}

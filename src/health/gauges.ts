import type pg from 'pg';
import type { BreakerState } from '../clients/breaker.ts';
import { countAgentStates } from '../db/agent-health.ts';
import type { Db } from '../db/connect.ts';
import { listPausedLanes } from '../db/paused-lanes.ts';
import { type QueueCounts, readQueueCounts } from '../db/queue-counts.ts';
import { AGENT_STATES } from '../db/schema.ts';
import { listWorkers } from '../db/workers.ts';
import type { Parts } from '../parts.ts';
import { LANES } from '../tasks/lanes.ts';
import { metrics } from '../telemetry/metrics.ts';
import type { Readiness } from './readiness.ts';

const BREAKER: Record<BreakerState, number> = { closed: 0, half_open: 1, open: 2 };
const NOT_ENDED = ['scheduled', 'pending', 'running', 'cancelling'] as const;

/** Of this process alone: it costs nothing, and cannot fail. */
export function readProcess(
  { backend, models, vectors }: Pick<Parts, 'backend' | 'models' | 'vectors'>,
  pools: Readonly<Record<string, pg.Pool>>,
): void {
  for (const [pool, { totalCount, idleCount, waitingCount }] of Object.entries(pools)) {
    metrics.poolConnections.set({ pool, state: 'used' }, totalCount - idleCount);
    metrics.poolConnections.set({ pool, state: 'idle' }, idleCount);
    metrics.poolWaiting.set({ pool }, waitingCount);
  }
  if (backend.kind === 'redis') metrics.redisUp.set(backend.isUp() ? 1 : 0);
  for (const { host, calls, breaker } of models.hostStates()) {
    metrics.modelHostBusy.set({ host }, calls);
    metrics.breaker.set({ dependency: host }, BREAKER[breaker]);
  }
  if (vectors) metrics.breaker.set({ dependency: 'qdrant' }, BREAKER[vectors.breaker.state()]);
}

/** What this process depends on. A dependency that does not answer says nothing else than that. */
export async function readDependencies(readiness: Readiness): Promise<void> {
  for (const { name, status } of await readiness.dependencies())
    metrics.dependencyUp.set({ dependency: name }, status === 'down' ? 0 : 1);
}

/** How the lanes are, of all processes together. @throws where the database does not answer */
export async function readLanes(db: Db): Promise<QueueCounts> {
  const [counts, paused, workers] = await Promise.all([readQueueCounts(db), listPausedLanes(db), listWorkers(db)]);
  const now = counts.now.getTime();
  for (const lane of LANES) {
    for (const status of NOT_ENDED) {
      const own = counts.counts.find((row) => row.lane === lane && row.status === status);
      metrics.queueTasks.set({ lane, status }, own?.count ?? 0);
      if (status !== 'pending' && status !== 'running') continue;
      const since = own?.oldest ? Date.parse(own.oldest) : now;
      metrics.queueOldest.set({ lane, status }, Math.max(0, now - since) / 1_000);
    }
    metrics.queuePaused.set({ lane }, paused.some((row) => row.lane === lane) ? 1 : 0);
    const serving = workers.flatMap(({ lanes }) => lanes[lane] ?? []);
    metrics.queueWorkers.set({ lane }, serving.length);
    metrics.queueSlots.set(
      { lane },
      serving.reduce((sum, { concurrency }) => sum + concurrency, 0),
    );
  }
  return counts;
}

/** The jobs, by BullMQ's states. @throws where the store of the jobs does not answer */
export async function readJobs({ dispatcher }: Pick<Parts, 'dispatcher'>): Promise<void> {
  for (const [lane, counts] of Object.entries(await dispatcher.counts()))
    for (const state of ['waiting', 'active', 'delayed'] as const)
      metrics.queueJobs.set({ lane, state }, counts[state]);
}

/** How the agents are, those of all users. @throws where the database does not answer */
export async function readAgents(db: Db): Promise<void> {
  const states = await countAgentStates(db);
  for (const state of AGENT_STATES) metrics.agents.set({ state }, states.get(state) ?? 0);
}

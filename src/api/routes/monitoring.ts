import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { countLanes, type LaneCount, listRunning } from '../../db/monitoring.ts';
import { deletePausedLane, insertPausedLane, listPausedLanes, type PausedLane } from '../../db/paused-lanes.ts';
import { STATUSES } from '../../db/schema.ts';
import { ProblemError } from '../../errors.ts';
import type { Parts } from '../../parts.ts';
import type { QueueBackend } from '../../queues/backend.ts';
import { applyPauses } from '../../queues/pauses.ts';
import { LANES, type Lane } from '../../tasks/lanes.ts';
import { defineRoute, type Route, type RouteInput } from '../route.ts';
import { briefly } from './task-access.ts';

const ENDED_WITHIN_SECONDS = 3_600;
const MAX_RUNNING = 1_000;

/** What goes on, and stopping it. */
export function monitoringRoutes({ db, backend, readiness }: Parts): Route[] {
  const startedAt = new Date(Date.now() - process.uptime() * 1000);

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/monitoring/queues',
      summary: 'Each queue with its tasks by status and how long the oldest has waited',
      handle: async () => {
        const [counts, paused] = await Promise.all([
          countLanes(db, new Date(Date.now() - ENDED_WITHIN_SECONDS * 1000)),
          listPausedLanes(db),
        ]);
        const data = LANES.map((lane) => ({ ...presentPause(lane, paused), ...presentCounts(lane, counts) }));
        return { status: 200, body: { data, ended_within_seconds: ENDED_WITHIN_SECONDS, next_cursor: null } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/monitoring/workers',
      summary: 'Who runs what since when',
      handle: async () => {
        const byWorker = Map.groupBy(await listRunning(db, MAX_RUNNING), ({ worker }) => worker);
        const data = [...byWorker].map(([worker, running]) => ({
          name: worker,
          running: running.map(({ worker: _, ...task }) => task),
        }));
        return { status: 200, body: { data, next_cursor: null } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/monitoring/queues/:name/pause',
      summary: 'Let a queue stand still; it goes on accepting',
      handle: (input) => turn(db, backend, input, 'pause'),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/monitoring/queues/:name/resume',
      summary: 'Let a queue go on',
      handle: (input) => turn(db, backend, input, 'resume'),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/monitoring/system',
      summary: 'How this process is, and what it depends on',
      handle: async () => {
        const dependencies = await readiness.dependencies();
        const { rss, heapUsed, external } = process.memoryUsage();
        const { user, system } = process.cpuUsage();
        return {
          status: 200,
          body: {
            node: process.version,
            started_at: startedAt,
            uptime_seconds: Math.round(process.uptime()),
            memory: { rss_bytes: rss, heap_used_bytes: heapUsed, external_bytes: external },
            cpu: { user_seconds: user / 1e6, system_seconds: system / 1e6 },
            event_loop_utilization: performance.eventLoopUtilization().utilization,
            queue_backend: backend.kind,
            dependencies: dependencies.map(({ details, ...row }) => ({ ...row, ...details })),
          },
        };
      },
    }),
  ];
}

function presentPause(lane: Lane, paused: PausedLane[]) {
  const pause = paused.find((row) => row.lane === lane);
  return {
    name: lane,
    paused: pause !== undefined,
    paused_at: pause?.paused_at ?? null,
    paused_by: pause?.paused_by ?? null,
  };
}

function presentCounts(lane: Lane, counts: LaneCount[]) {
  const own = counts.filter((row) => row.lane === lane);
  return {
    counts: Object.fromEntries(
      STATUSES.map((status) => [status, own.find((row) => row.status === status)?.count ?? 0]),
    ),
    oldest_waiting_seconds: Math.max(0, ...own.map(({ oldest_seconds }) => oldest_seconds ?? 0)),
  };
}

/** The table decides; the queue store is told right after, and where it cannot be reached, by the reconciler. */
async function turn(
  db: Db,
  backend: QueueBackend,
  { params, principal, trail }: RouteInput<unknown, unknown>,
  verb: 'pause' | 'resume',
) {
  const lane = LANES.find((name) => name === params.name);
  if (!lane) throw new ProblemError('not_found', `There is no such queue; there are ${LANES.join(', ')}.`);
  await db.transaction().execute(async (trx) => {
    const changed = await (verb === 'pause'
      ? insertPausedLane(trx, lane, principal.username)
      : deletePausedLane(trx, lane));
    const entry = trail.entry({ action: `queue.${verb}`, object: { type: 'queue', id: lane } });
    if (changed) await insertAudit(trx, [entry]);
  });
  await briefly(applyPauses(db, backend));
  return { status: 200, body: presentPause(lane, await listPausedLanes(db)) };
}

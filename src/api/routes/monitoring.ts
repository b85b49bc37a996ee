import * as v from 'valibot';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { countLanes, countParked, type LaneCount, listAtWork } from '../../db/monitoring.ts';
import { deletePausedLane, insertPausedLane, listPausedLanes, type PausedLane } from '../../db/paused-lanes.ts';
import { STATUSES, type Status } from '../../db/schema.ts';
import { type LaneRate, listRates, listWorkers } from '../../db/workers.ts';
import { ProblemError } from '../../errors.ts';
import type { Parts } from '../../parts.ts';
import type { QueueBackend } from '../../queues/backend.ts';
import { applyPauses } from '../../queues/pauses.ts';
import { LANES, type Lane } from '../../tasks/lanes.ts';
import { answers } from '../answer.ts';
import { defineRoute, type Route, type RouteInput } from '../route.ts';
import { system, systemExample } from '../shapes/health.ts';
import { pauseExample, pause as pauseShape, queue, queueExample, worker, workerExample } from '../shapes/queue.ts';
import { briefly } from './task-access.ts';

const ENDED_WITHIN_SECONDS = 3_600;
/** So many running tasks are named in one answer; those beyond are counted. */
const MAX_RUNNING = 1_000;
/** Over how many full minutes, and the present one, the throughput is measured. */
const RATE_MINUTES = 5;
/** A worker that has tasks and does not tell of itself: one of an earlier version, or one that is lost. */
const UNKNOWN_WORKER = { version: null, lanes: {}, down: [], loading: [], started_at: null, seen_at: null };

/** What goes on, and stopping it. */
export function monitoringRoutes({ db, backend, readiness }: Parts): Route[] {
  const startedAt = new Date(Date.now() - process.uptime() * 1000);

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/monitoring/queues',
      summary: 'Each queue with its tasks by status and how long the oldest has waited',
      answers: {
        200: answers(
          'Every queue.',
          v.strictObject({ data: v.array(queue), ended_within_seconds: v.number(), next_cursor: v.null() }),
          { data: [queueExample], ended_within_seconds: ENDED_WITHIN_SECONDS, next_cursor: null },
        ),
      },
      handle: async () => {
        const [counts, parked, paused, rates] = await Promise.all([
          countLanes(db, new Date(Date.now() - ENDED_WITHIN_SECONDS * 1000)),
          countParked(db),
          listPausedLanes(db),
          listRates(db, RATE_MINUTES),
        ]);
        const data = LANES.map((lane) => ({
          ...presentPause(lane, paused),
          ...presentCounts(lane, counts),
          parked: parked.get(lane) ?? 0,
          demand: demandOf(
            counts.filter((row) => row.lane === lane),
            { parked: parked.get(lane) ?? 0, paused: paused.some((row) => row.lane === lane) },
          ),
          throughput: presentRate(rates.find((rate) => rate.lane === lane)),
        }));
        return { status: 200, body: { data, ended_within_seconds: ENDED_WITHIN_SECONDS, next_cursor: null } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/monitoring/workers',
      summary: 'Which processes work, in which queues, and who runs what since when',
      answers: {
        200: answers(
          'Every process that works, or has something in its hands.',
          v.strictObject({ data: v.array(worker), next_cursor: v.null() }),
          { data: [workerExample], next_cursor: null },
        ),
      },
      handle: async () => {
        const [known, atWork] = await Promise.all([listWorkers(db), listAtWork(db, MAX_RUNNING)]);
        const held = new Map(atWork.map((one) => [one.worker, one]));
        const unknown = [...held.keys()].filter((name) => !known.some((worker) => worker.name === name));
        const data = [...known, ...unknown.map((name) => ({ ...UNKNOWN_WORKER, name }))].map((worker) => {
          const { total = 0, running = [] } = held.get(worker.name) ?? {};
          return { ...worker, running_total: total, running };
        });
        return { status: 200, body: { data, next_cursor: null } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/monitoring/queues/:name/pause',
      summary: 'Let a queue stand still; it goes on accepting',
      answers: { 200: answers('The queue stands still.', pauseShape, pauseExample) },
      handle: (input) => turn(db, backend, input, 'pause'),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/monitoring/queues/:name/resume',
      summary: 'Let a queue go on',
      answers: {
        200: answers('The queue goes on.', pauseShape, {
          ...pauseExample,
          paused: false,
          paused_at: null,
          paused_by: null,
        }),
      },
      handle: (input) => turn(db, backend, input, 'resume'),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/monitoring/system',
      summary: 'How this process is, and what it depends on',
      answers: { 200: answers('The process that answers.', system, systemExample) },
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

function presentPause(lane: Lane, paused: PausedLane[]): v.InferOutput<typeof pauseShape> {
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

/** The two counts come from two statements, so what was woken in between could be missing twice. */
function demandOf(own: LaneCount[], { parked, paused }: { parked: number; paused: boolean }): number {
  const sum = (statuses: Status[], of: (row: LaneCount) => number) =>
    own.filter(({ status }) => statuses.includes(status)).reduce((total, row) => total + of(row), 0);
  const inHands = Math.max(0, sum(['running', 'cancelling'], ({ count }) => count) - parked);
  return inHands + (paused ? 0 : sum(['pending'], ({ count, held }) => count - held));
}

function presentRate(rate: LaneRate | undefined) {
  const perMinute = (count = 0) => Math.round((count / (RATE_MINUTES + new Date().getSeconds() / 60)) * 100) / 100;
  return {
    started_per_minute: perMinute(rate?.started),
    completed_per_minute: perMinute(rate?.completed),
    failed_per_minute: perMinute(rate?.failed),
    mean_run_ms: Math.round(rate?.mean_ms ?? 0),
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

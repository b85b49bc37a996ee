import { isDatabaseAway } from '../db/away.ts';
import type { Db } from '../db/connect.ts';
import type { Notifications } from '../db/notify.ts';
import type { HoldOptions } from '../db/tasks/holds.ts';
import { TASK_CHANNEL, type Transition } from '../db/tasks/transition.ts';
import { within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { moveOnAfter } from '../queues/after.ts';
import type { LaneJob, LaneProcessor, QueueBackend } from '../queues/backend.ts';
import type { Dispatcher } from '../queues/dispatcher.ts';
import type { Places } from '../queues/places.ts';
import { deliveryWakes, wakesOf, wakesOfDeliveries } from '../queues/wakes.ts';
import type { Registry } from '../tasks/index.ts';
import type { Lane } from '../tasks/lanes.ts';
import type { Tools } from '../tasks/tools.ts';
import type { Deliver } from '../webhooks/deliver.ts';
import type { Workflows } from '../workflows/engine.ts';
import { type Attempt, createRunningAttempts, type RunningAttempts } from './attempt.ts';
import { createWorker, LOCK_MS, RetryLater } from './bullmq.ts';
import { createClaims } from './claims.ts';
import { createDeliveryJobs } from './delivery-job.ts';
import { createGate } from './gate.ts';
import { createHeartbeat } from './heartbeat.ts';
import { type LaneRunner, startLane } from './lane.ts';
import { beginCounting } from './measure.ts';
import type { Pulse } from './pulse.ts';
import type { Reports, RunContext } from './run.ts';
import { createTaskJobs } from './task-job.ts';
import { createWindow, type Models } from './window.ts';

interface Options extends HoldOptions {
  /** The name of this process in rows and dashboards. */
  name: string;
  lanes: readonly Lane[];
  /** How many tasks of a lane run at a time. */
  concurrency: (lane: Lane) => number;
  leaseMs: number;
  maxOutputBytes: number;
  db: Db;
  backend: QueueBackend;
  dispatcher: Dispatcher;
  places: Places;
  workflows: Pick<Workflows, 'advance'>;
  notifications: Notifications;
  registry: Registry;
  /** The hosts of language models, and how long a task may be passed over for the sake of a model in memory; 0 is never. */
  affinity?: { models: Models; boundMs: number };
  running?: RunningAttempts;
  tools: (attempt: Attempt) => Tools;
  /** Hears what starts and ends. */
  pulse?: Pulse;
  reports: Reports;
  /** Sends one webhook delivery; answers when it should be tried again, if it should. */
  deliver: Deliver;
  log: Logger;
}

/** The worker of a process: one BullMQ worker a lane. */
export interface LaneWorkers {
  /**
   * Two stages: takes nothing new and waits up to `graceMs`; then gives the rest back, so that others start it at once.
   * Answers how much could not be given back and waits for its lease to run out.
   */
  close(graceMs: number): Promise<number>;
  /** Lanes that stand still here although they should not, one sentence each. */
  problems(): string[];
}

/** For what happens outside of a task, such as a database that is away during the claim. */
const AWAY_MS = 1_000;
/** What stopped tasks may take to be written as given back, and BullMQ to hear of it. Their sum fits the last seconds of a process. */
const HAND_BACK_MS = 2_000;
const FINISH_MS = 500;

/** Starts to work. */
export function startWorkers(options: Options): LaneWorkers {
  const {
    name,
    lanes,
    concurrency,
    leaseMs,
    db,
    backend,
    dispatcher,
    notifications,
    registry,
    tools,
    deliver,
    pulse,
    log,
  } = options;
  beginCounting(registry.all().filter(({ lane }) => lanes.includes(lane)));
  const running = options.running ?? createRunningAttempts();
  const runners = new Map<Lane, LaneRunner>();
  const gate = createGate(db, () => runners.values(), log);
  const claims = createClaims({
    ...{ db, name, leaseMs, everybody: options.everybody, agingMs: options.agingMs },
    // Claims do not wait for it: what cannot be added now is added by the reconciler.
    onCalled: (called) => void dispatcher.enqueue(called.map((task) => ({ ...task, kind: 'task' as const }))),
    onHeld: (held) => void options.places.freed(held),
    onError: gate.judge,
    log,
  });
  const { affinity } = options;
  const windows = new Map(
    lanes
      .filter((lane) => lane === 'llm' && affinity && affinity.boundMs > 0)
      .map((lane) => [lane, createWindow({ db, backend, lane, log, ...(affinity as NonNullable<typeof affinity>) })]),
  );
  /** What was taken and not settled so far. */
  const owed = new Set<string>();
  let closing = false;
  const stopDeliveries = new AbortController();
  /** Every job that is being worked on, those included that still wait for their claim. */
  const underWay = new Map<Promise<void>, Lane>();
  const idle = async () => {
    while (underWay.size > 0) await Promise.allSettled(underWay.keys());
  };

  async function onSettled(
    moved: Transition,
    { wantsJob, limited }: { wantsJob: boolean; limited: boolean },
  ): Promise<void> {
    moveOnAfter([moved], options.workflows);
    // Within its generation a task waits in the job that BullMQ delays.
    const wakes = wantsJob ? wakesOf(moved) : deliveryWakes(moved);
    await Promise.all([
      wakes.length > 0 ? dispatcher.enqueue(wakes) : undefined,
      limited ? options.places.freed([moved]) : undefined,
    ]);
  }

  /** Told by whoever claimed it: with a window that may be another slot than the one that has its job. */
  function ended(id: string, known: boolean): void {
    pulse?.ended(id);
    // What went wrong earlier has nothing to do with the stop; it is others' by then, or done.
    if (known || !closing) owed.delete(id);
  }

  const context: RunContext = {
    registry,
    running,
    tools,
    reports: {
      ...options.reports,
      start(attempt) {
        const { lane, id, generation } = attempt.task;
        attempt.begun = () => windows.get(lane)?.begun({ id, generation });
        options.reports.start(attempt);
      },
    },
    async claim(claim) {
      const claimed = await claims.claim(claim).catch((error) => {
        throw isDatabaseAway(error) ? new RetryLater('the database takes no claims', AWAY_MS) : error;
      });
      if (!claimed || !('task' in claimed)) return claimed;
      const { lane } = claimed.task;
      owed.add(claim.id);
      pulse?.started(claim.id, lane, claimed.task);
      // Others would fetch it for nothing.
      if (windows.get(lane)?.isEarly(claim)) void dispatcher.remove({ ...claim, lane });
      // Nobody waits for it: the work itself does not depend on who hears of it.
      if (claimed.told) void dispatcher.enqueue(wakesOfDeliveries('task.started', claimed.told));
      return claimed;
    },
    async settle(settlement) {
      const moved = await claims.settle(settlement);
      owed.delete(settlement.id);
      pulse?.ended(settlement.id, moved?.status, settlement.usage);
      return moved;
    },
    onSettled,
    ended,
    maxOutputBytes: options.maxOutputBytes,
    log,
  };

  const process: LaneProcessor = (job, token) => {
    const work = processJob(job, token);
    underWay.set(work, job.queueName as Lane);
    const done = () => underWay.delete(work);
    work.then(done, done);
    return work;
  };

  const processJob: LaneProcessor = async (job, token) => {
    const { kind, id, generation } = job.data;
    // A job whose hash was lost arrives empty.
    if (!id || generation === undefined) return;
    heartbeat.hold(job.queueName as Lane, job.id ?? '', token ?? '');
    try {
      if (kind === 'delivery') await runDelivery({ id, generation });
      else await runJob(job, token ?? '');
    } finally {
      release(job, token ?? '');
    }
  };

  const release = (job: LaneJob, token: string) => heartbeat.release(job.queueName as Lane, job.id ?? '', token);
  const { signal } = stopDeliveries;
  const runDelivery = createDeliveryJobs({ deliver, signal, owed, pulse, ended, onError: gate.judge });
  const runJob = createTaskJobs({ context, windows, backend, dispatcher, release, log });

  const heartbeat = createHeartbeat({ db, leaseMs, lockMs: LOCK_MS, running, runners, gate, log });
  for (const lane of lanes)
    runners.set(
      lane,
      startLane({
        lane,
        concurrency: concurrency(lane),
        create: () => createWorker({ backend, name, lane, process, log }),
        queue: backend.queue(lane),
        busy: () => [...underWay.values()].filter((busyLane) => busyLane === lane).length,
        onDry: () => dispatcher.dry(lane),
        log,
      }),
    );

  const stopListening = notifications.on(TASK_CHANNEL, running.hear);
  // A cancel may have been said while the connection was away; the heartbeat reads it from the rows.
  const stopChecking = notifications.onConnect(() => void heartbeat.beat().catch(() => {}));

  return {
    async close(graceMs) {
      closing = true;
      const finish = [...runners.values()].map((runner) => runner.stop());
      gate.close();
      for (const window of windows.values()) window.close();
      await within(idle(), graceMs, 'the running tasks').catch(() => {
        running.stopAll('shutdown');
        stopDeliveries.abort();
      });
      await within(idle(), HAND_BACK_MS, 'the stopped tasks').catch(() => {});
      claims.stopSettling();
      if (owed.size > 0) log.warn({ left: owed.size }, 'not all could be handed back; their leases run out');
      stopListening();
      stopChecking();
      await Promise.all([
        ...finish.map((end) => end()),
        within(heartbeat.close(), FINISH_MS, 'the heartbeat').catch(() => {}),
      ]);
      return owed.size;
    },
    problems: () => [...runners.values()].flatMap((runner) => runner.problem() ?? []),
  };
}

import { UnrecoverableError } from 'bullmq';
import { isDatabaseAway } from '../db/away.ts';
import type { Db } from '../db/connect.ts';
import type { Notifications } from '../db/notify.ts';
import { TASK_CHANNEL, type Transition } from '../db/tasks/transition.ts';
import { within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { LaneProcessor, LaneWorker, QueueBackend } from '../queues/backend.ts';
import type { Dispatcher } from '../queues/dispatcher.ts';
import { deliveryWakes, wakesOf } from '../queues/wakes.ts';
import { backoffMs } from '../tasks/define.ts';
import type { Registry } from '../tasks/index.ts';
import { LANE_DEFAULTS, type Lane } from '../tasks/lanes.ts';
import type { Tools } from '../tasks/tools.ts';
import { type Attempt, createRunningAttempts, type RunningAttempts } from './attempt.ts';
import { createClaims } from './claims.ts';
import { createGate } from './gate.ts';
import { createHeartbeat } from './heartbeat.ts';
import { type LaneRunner, startLane } from './lane.ts';
import { type RunContext, runTask } from './run.ts';

interface Options {
  /** The name of this process in rows and dashboards. */
  name: string;
  lanes: readonly Lane[];
  /** Tasks at a time in each lane; a figure per lane when not given. */
  concurrency: number | undefined;
  leaseMs: number;
  /** How many tasks of a user may run at a time, where nothing else was set for that user; 0 is no limit. */
  runningTasks: number;
  maxOutputBytes: number;
  db: Db;
  backend: QueueBackend;
  dispatcher: Dispatcher;
  notifications: Notifications;
  registry: Registry;
  running?: RunningAttempts;
  tools: (attempt: Attempt) => Tools;
  /** Sends one webhook delivery; answers when it should be tried again, if it should. */
  deliver: (delivery: { id: string; generation: number }) => Promise<{ retryInMs: number } | undefined>;
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

/** BullMQ asks for a delay by an error; ours carries it. */
class RetryLater extends Error {
  override readonly name = 'RetryLater';
  readonly delayMs: number;

  constructor(message: string, delayMs: number) {
    super(message);
    this.delayMs = delayMs;
  }
}

/** Short, because all that depends on it is when a job is looked at again whose worker or connection was lost in between. */
const LOCK_MS = 10_000;
const STALLED_EVERY_MS = 5_000;
/** For what happens outside of a task, such as a database that is away during the claim. */
const AWAY_MS = 1_000;
const CLAIM_BACKOFF = { minMs: 1_000, maxMs: 10_000 };
/** After a task whose dependency is away: an outage must not turn over the whole backlog as fast as it can be claimed. */
const TURNED_AWAY_MS = 200;
/** What stopped tasks may take to be written as given back, and BullMQ to hear of it. Their sum fits the last seconds of a process. */
const HAND_BACK_MS = 2_000;
const FINISH_MS = 500;

/** Starts to work. */
export function startWorkers(options: Options): LaneWorkers {
  const { name, lanes, concurrency, leaseMs, db, backend, dispatcher, notifications, registry, tools, deliver, log } =
    options;
  const running = options.running ?? createRunningAttempts();
  const runners = new Map<Lane, LaneRunner>();
  const gate = createGate(db, () => runners.values(), log);
  const claims = createClaims({ db, name, leaseMs, runningTasks: options.runningTasks, onError: gate.judge, log });
  /** What was taken and not settled so far. */
  const owed = new Set<string>();
  let closing = false;
  /** Every job that is being worked on, those included that still wait for their claim. */
  const underWay = new Map<Promise<void>, Lane>();
  const idle = async () => {
    while (underWay.size > 0) await Promise.allSettled(underWay.keys());
  };

  async function onSettled(moved: Transition, wantsJob: boolean): Promise<void> {
    // Within its generation a task waits in the job that BullMQ delays.
    const wakes = wantsJob ? wakesOf(moved) : deliveryWakes(moved);
    if (wakes.length > 0) await dispatcher.enqueue(wakes);
  }

  const context: RunContext = {
    registry,
    running,
    tools,
    async claim(claim) {
      const claimed = await claims.claim(claim).catch((error) => {
        throw isDatabaseAway(error) ? new RetryLater('the database takes no claims', AWAY_MS) : error;
      });
      if (claimed && 'task' in claimed) owed.add(claim.id);
      return claimed;
    },
    async settle(settlement) {
      const moved = await claims.settle(settlement);
      owed.delete(settlement.id);
      return moved;
    },
    onSettled,
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
      if (kind === 'delivery') {
        owed.add(id);
        const again = await deliver({ id, generation }).catch((error) => {
          gate.judge(error);
          throw error;
        });
        owed.delete(id);
        if (again) throw new RetryLater('the delivery is tried again', again.retryInMs);
        return;
      }
      const result = await runTask({ id, generation }, context);
      owed.delete(id);
      if (result.kind === 'failed') throw new UnrecoverableError(result.error.code);
      if (result.kind === 'retry') {
        if (result.turnedAway) await new Promise((resolve) => setTimeout(resolve, TURNED_AWAY_MS));
        throw new RetryLater(result.error.code, result.delayMs);
      }
    } finally {
      heartbeat.release(job.queueName as Lane, job.id ?? '', token ?? '');
      // What went wrong earlier has nothing to do with the stop; it is others' by then, or done.
      if (!closing) owed.delete(id);
    }
  };

  const createWorker = (lane: Lane): LaneWorker => {
    const worker = backend.createWorker(lane, process, {
      name,
      autorun: false,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_EVERY_MS,
      // BullMQ tracks locks by job id alone, so the end of one run can stop the renewal of the next: the heartbeat renews.
      skipLockRenewal: true,
      // Whether a task has killed too many workers is counted in Postgres.
      maxStalledCount: 1_000_000,
      runRetryDelay: 1_000,
      settings: {
        backoffStrategy: (attempts, _type, error) =>
          error instanceof RetryLater ? error.delayMs : backoffMs(CLAIM_BACKOFF, attempts) + 100,
      },
    });
    worker.on('failed', (job, error) => {
      if (!(error instanceof RetryLater) && !(error instanceof UnrecoverableError))
        log.warn({ err: error, lane, job: job?.id }, 'a job could not be run; it is tried again');
    });
    return worker;
  };
  const heartbeat = createHeartbeat({ db, leaseMs, lockMs: LOCK_MS, running, runners, gate, log });
  for (const lane of lanes)
    runners.set(
      lane,
      startLane({
        lane,
        concurrency: concurrency ?? LANE_DEFAULTS[lane].concurrency,
        create: () => createWorker(lane),
        queue: backend.queue(lane),
        busy: () => [...underWay.values()].filter((busyLane) => busyLane === lane).length,
        log,
      }),
    );

  const stopListening = notifications.on(TASK_CHANNEL, (payload) => {
    const [what, id] = payload.split(' ');
    if (what === 'cancelling' && id) running.find(id)?.stop('cancelled');
  });
  // A cancel may have been said while the connection was away; the heartbeat reads it from the rows.
  const stopChecking = notifications.onConnect(() => void heartbeat.beat().catch(() => {}));

  return {
    async close(graceMs) {
      closing = true;
      const finish = [...runners.values()].map((runner) => runner.stop());
      gate.close();
      await within(idle(), graceMs, 'the running tasks').catch(() => running.stopAll('shutdown'));
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

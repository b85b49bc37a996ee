import { UnrecoverableError } from 'bullmq';
import { createBatch } from '../db/batch.ts';
import type { Db } from '../db/connect.ts';
import type { Notifications } from '../db/notify.ts';
import { type Claim, type ClaimedTask, claimTasks, type Settlement, settleTasks } from '../db/tasks/run.ts';
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
import { createHeartbeat } from './heartbeat.ts';
import { runTask } from './run.ts';

interface Options {
  /** The name of this process in rows and dashboards. */
  name: string;
  lanes: readonly Lane[];
  /** Tasks at a time in each lane; a figure per lane when not given. */
  concurrency: number | undefined;
  leaseMs: number;
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
  /** Two stages: takes nothing new and waits up to `graceMs`; then gives the rest back, so that others start it at once. */
  close(graceMs: number): Promise<void>;
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
const MAX_BATCH = 200;
/** For what happens outside of a task, such as a database that is away during the claim. */
const CLAIM_BACKOFF = { minMs: 1_000, maxMs: 10_000 };
const SETTLE_RETRY_MS = 500;
/** After a task whose dependency is away: an outage must not turn over the whole backlog as fast as it can be claimed. */
const TURNED_AWAY_MS = 200;

/** Starts to work. */
export function startWorkers(options: Options): LaneWorkers {
  const { name, lanes, concurrency, leaseMs, db, backend, dispatcher, notifications, registry, tools, deliver, log } =
    options;
  const running = options.running ?? createRunningAttempts();
  const claim = createBatch<Claim, ClaimedTask | undefined>({
    run: (claims) => claimTasks(db, name, leaseMs, claims),
    max: MAX_BATCH,
    parallel: 2,
  });
  const settleOnce = createBatch<Settlement, Transition | undefined>({
    run: (all) => settleTasks(db, all),
    max: MAX_BATCH,
    parallel: 2,
  });
  let closing = false;
  /** Every job that is being worked on, those included that still wait for their claim. */
  const underWay = new Set<Promise<void>>();
  const idle = async () => {
    while (underWay.size > 0) await Promise.allSettled(underWay);
  };

  /** A finished result is not thrown away because the database is away for a while. */
  async function settle(given: Settlement): Promise<Transition | undefined> {
    for (let settlement = given; ; ) {
      try {
        return await settleOnce(settlement);
      } catch (error) {
        if (closing || (isFault(error) && settlement !== given)) throw error;
        if (isFault(error)) {
          log.error({ err: error, task_id: given.id }, 'an outcome cannot be stored; the task fails');
          settlement = unstorable(given);
          continue;
        }
        log.warn({ err: error, task_id: settlement.id }, 'an outcome could not be written; trying again');
        await new Promise((resolve) => setTimeout(resolve, SETTLE_RETRY_MS));
      }
    }
  }

  async function onSettled(moved: Transition, wantsJob: boolean): Promise<void> {
    // Within its generation a task waits in the job that BullMQ delays.
    const wakes = wantsJob ? wakesOf(moved) : deliveryWakes(moved);
    if (wakes.length > 0) await dispatcher.enqueue(wakes);
  }

  const context = { registry, running, tools, claim, settle, onSettled, maxOutputBytes: options.maxOutputBytes, log };

  const process: LaneProcessor = (job, token) => {
    const work = processJob(job, token);
    underWay.add(work);
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
        const again = await deliver({ id, generation });
        if (again) throw new RetryLater('the delivery is tried again', again.retryInMs);
        return;
      }
      const result = await runTask({ id, generation }, context);
      if (result.kind === 'failed') throw new UnrecoverableError(result.error.code);
      if (result.kind === 'retry') {
        if (result.turnedAway) await new Promise((resolve) => setTimeout(resolve, TURNED_AWAY_MS));
        throw new RetryLater(result.error.code, result.delayMs);
      }
    } finally {
      heartbeat.release(job.queueName as Lane, job.id ?? '', token ?? '');
    }
  };

  const workers = new Map<Lane, LaneWorker>();
  const heartbeat = createHeartbeat({ db, leaseMs, lockMs: LOCK_MS, running, workers, log });
  for (const lane of lanes) {
    const worker = backend.createWorker(lane, process, {
      name,
      concurrency: concurrency ?? LANE_DEFAULTS[lane].concurrency,
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
    worker.on('error', (error) => log.debug({ err: error, lane }, 'worker error'));
    worker.on('failed', (job, error) => {
      if (!(error instanceof RetryLater) && !(error instanceof UnrecoverableError))
        log.warn({ err: error, lane, job: job?.id }, 'a job could not be run; it is tried again');
    });
    workers.set(lane, worker);
  }

  const stopListening = notifications.on(TASK_CHANNEL, (payload) => {
    const [what, id] = payload.split(' ');
    if (what === 'cancelling' && id) running.find(id)?.stop('cancelled');
  });
  // A cancel may have been said while the connection was away; the heartbeat reads it from the rows.
  const stopChecking = notifications.onConnect(() => void heartbeat.beat().catch(() => {}));

  return {
    async close(graceMs) {
      // A paused worker would still take what its blocking call brings; a closing one gives that call up.
      const closed = [...workers.values()].map((worker) => ({ worker, closed: worker.close() }));
      await within(idle(), graceMs, 'the running tasks').catch(() => running.stopAll('shutdown'));
      await within(idle(), 2_000, 'the stopped tasks').catch((error) =>
        log.warn({ err: error }, 'some tasks did not stop; their leases run out'),
      );
      closing = true;
      await Promise.all(closed.map(finish));
      stopListening();
      stopChecking();
      await heartbeat.close();
    },
  };
}

/** Closing waits for BullMQ to note what has ended; without its store it would wait for ever, a forced close after it too. */
async function finish({ worker, closed }: { worker: LaneWorker; closed: Promise<void> }): Promise<void> {
  await within(closed, 3_000, 'closing a worker').catch(() =>
    within(worker.disconnect(), 1_000, 'disconnecting a worker').catch(() => {}),
  );
}

/** What is left of an outcome that Postgres refuses: that it was one. */
function unstorable({ id, attempt }: Settlement): Settlement {
  const error = { code: 'internal_error', message: 'The outcome of the task could not be stored.', retryable: false };
  return {
    id,
    attempt,
    status: 'failed',
    outcome: 'failed',
    output: null,
    error,
    model: null,
    usage: null,
    delay_ms: 0,
    new_job: false,
  };
}

/** Errors of SQL and of values do not go away by waiting; those of connections do. */
function isFault(error: unknown): boolean {
  return /^(2[123]|42)/.test(String((error as { code?: unknown }).code ?? ''));
}

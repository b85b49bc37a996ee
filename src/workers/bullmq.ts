import { UnrecoverableError } from 'bullmq';
import type { Logger } from '../log.ts';
import type { LaneProcessor, LaneWorker, QueueBackend } from '../queues/backend.ts';
import { backoffMs } from '../tasks/define.ts';
import type { Lane } from '../tasks/lanes.ts';

/** BullMQ asks for a delay by an error; ours carries it. */
export class RetryLater extends Error {
  override readonly name = 'RetryLater';
  readonly delayMs: number;

  constructor(message: string, delayMs: number) {
    super(message);
    this.delayMs = delayMs;
  }
}

/** Short, because all that depends on it is when a job is looked at again whose worker or connection was lost in between. */
export const LOCK_MS = 10_000;
const STALLED_EVERY_MS = 5_000;
const CLAIM_BACKOFF = { minMs: 1_000, maxMs: 10_000 };

interface Options {
  backend: QueueBackend;
  /** What dashboards call the worker. */
  name: string;
  lane: Lane;
  process: LaneProcessor;
  log: Logger;
}

/** Makes the BullMQ worker of a lane; it does not run yet. */
export function createWorker({ backend, name, lane, process, log }: Options): LaneWorker {
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
}

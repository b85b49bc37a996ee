import { repeat, within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { LaneQueue, LaneWorker } from '../queues/backend.ts';
import type { Lane } from '../tasks/lanes.ts';

/** One lane's work in this process: a BullMQ worker, and what keeps it fetching. */
export interface LaneRunner {
  /** Prolongs the locks of jobs that this process works on. @throws when the store does not answer */
  extendLocks(jobIds: string[], tokens: string[], ms: number): Promise<void>;
  /** Whether nothing is to be fetched for now; jobs that run go on. */
  hold(on: boolean): void;
  /** Why the lane stands still here although it should not; `undefined` where all is well. */
  problem(): string | undefined;
  /** Takes nothing new from now on. The answer closes the rest, in bounded time. */
  stop(): () => Promise<void>;
}

interface Options {
  lane: Lane;
  concurrency: number;
  /** Makes a BullMQ worker that does not run yet. */
  create: () => LaneWorker;
  queue: LaneQueue;
  /** How many jobs of the lane this process works on. */
  busy: () => number;
  /** Told when there is nothing to fetch any more. */
  onDry?: () => void;
  log: Logger;
  checkEveryMs?: number;
}

const REOPEN_MS = 1_000;
/** More errors than this in a second are a worker that asks again at once. */
const ERRORS_A_SECOND = 3;
const BRAKE_MS = 1_000;
/** A worker that was refused has asked again by then, brake and new connection included. */
const ASKS_AGAIN_MS = 3_000;
const CHECK_EVERY_MS = 5_000;
const CHECK_TIMEOUT_MS = 3_000;
/** After so many looks in a row at jobs that wait, free slots, and nothing fetched, a worker counts as stuck. */
const PATIENCE = 4;
const FINISH_MS = 500;

/** Starts to work on a lane. */
export function startLane(options: Options): LaneRunner {
  const { lane, concurrency, create, queue, busy, log, checkEveryMs = CHECK_EVERY_MS } = options;
  let worker: LaneWorker | undefined;
  /** Workers that were replaced and still have jobs to end. */
  const retired = new Set<LaneWorker>();
  let stopping = false;
  let held = false;
  const braking = new Set<LaneWorker>();
  /** Whether a job was fetched or ended since the last look. */
  let moved = false;
  /** When the worker last said that its store refuses or is away: it asks then, and is not stuck. */
  let refusedAt = Number.NEGATIVE_INFINITY;
  let stillFor = 0;
  let replaced = false;
  let problem: string | undefined;

  async function open(atFirst: number): Promise<void> {
    while (!stopping) {
      let next: LaneWorker | undefined;
      try {
        next = create();
        next.concurrency = atFirst;
        watchErrors(next);
        next.on('active', () => {
          moved = true;
        });
        if (options.onDry) next.on('drained', options.onDry);
        // A worker whose first connection failed remembers that for ever, and asks again without a pause; so it is only
        // let run once it is connected.
        await next.waitUntilReady();
      } catch (error) {
        log.debug({ err: error, lane }, 'a worker could not be opened; opening another');
        void next?.close(true);
        await new Promise((resolve) => setTimeout(resolve, REOPEN_MS));
        continue;
      }
      if (stopping) return void next.close(true);
      worker = next;
      steer(next);
      next.run().catch((error) => log.error({ err: error, lane }, 'a worker ended by itself'));
      return;
    }
  }

  /** Lets a worker fetch, or not. */
  function steer(one: LaneWorker): void {
    if (one.closing) return;
    const still = held || braking.has(one);
    if (still === one.isPaused()) return;
    void (still ? one.pause(true) : one.resume());
  }

  /** After an error that is not one of the connection BullMQ asks again at once, and would take a whole core meanwhile. */
  function watchErrors(one: LaneWorker): void {
    let recent: number[] = [];
    one.on('error', (error) => {
      log.debug({ err: error, lane }, 'worker error');
      if (one === worker) refusedAt = performance.now();
      const now = performance.now();
      recent = [...recent.filter((at) => at > now - 1_000), now].slice(-ERRORS_A_SECOND - 1);
      if (braking.has(one) || recent.length <= ERRORS_A_SECOND) return;
      braking.add(one);
      steer(one);
      setTimeout(() => {
        braking.delete(one);
        steer(one);
      }, BRAKE_MS);
    });
  }

  /** Whether it could fetch, and has not. */
  const isRefused = () => performance.now() - refusedAt < ASKS_AGAIN_MS;
  const standsStill = () =>
    !moved && !isRefused() && worker !== undefined && !worker.isPaused() && busy() < concurrency;

  /** BullMQ workers have been seen to stop fetching after an outage without an error. */
  async function look(): Promise<void> {
    // Looked at again after the store was asked: a job may have come meanwhile, and taken the last slot.
    if (!standsStill() || !(await hasWork()) || !standsStill()) {
      if (moved && problem) log.info({ lane }, 'the lane moves again');
      if (moved) {
        replaced = false;
        problem = undefined;
      }
      stillFor = 0;
      moved = false;
      return;
    }
    stillFor++;
    if (stillFor < PATIENCE || !worker) return;
    stillFor = 0;
    if (replaced) {
      if (!problem)
        log.error({ lane }, 'a new worker takes no jobs of the lane either: this process should be restarted');
      problem = `the lane ${lane} has waiting jobs and free slots here, and none is fetched`;
      return;
    }
    log.error({ lane }, 'the worker of the lane takes no jobs although some wait; another takes its place');
    replaced = true;
    const old = worker;
    worker = undefined;
    retired.add(old);
    // What it still runs goes on, and counts.
    void open(concurrency - busy()).then(async () => {
      const next = worker;
      await old.close();
      retired.delete(old);
      if (next) next.concurrency = concurrency;
    });
  }

  /** Whether there is something to fetch now; not where the store does not say so. */
  async function hasWork(): Promise<boolean> {
    const asked = Promise.all([
      queue.isPaused(),
      queue.isMaxed(),
      queue.getRateLimitTtl(),
      // Counting would take the longer the more jobs there are.
      queue.getJobs(['waiting', 'prioritized'], 0, 0),
    ]);
    const [paused, maxed, limitedMs, first] = await within(asked, CHECK_TIMEOUT_MS, `the queue of the lane ${lane}`);
    return !paused && !maxed && limitedMs <= 0 && first.length > 0;
  }

  void open(concurrency);
  const stopLooking = repeat(checkEveryMs, look, (error) => {
    stillFor = 0;
    log.debug({ err: error, lane }, 'the lane could not be looked at');
  });

  return {
    async extendLocks(jobIds, tokens, ms) {
      await (worker ?? [...retired].at(-1))?.extendJobLocks(jobIds, tokens, ms);
    },
    hold(on) {
      held = on;
      if (worker) steer(worker);
    },
    problem: () => problem,
    stop() {
      stopping = true;
      void stopLooking();
      const all = [...retired, ...(worker ? [worker] : [])];
      // A paused worker would still take what its blocking call brings; a closing one gives that call up.
      const closing = all.map((one) => ({ one, closed: one.close() }));
      return async () => void (await Promise.all(closing.map(({ one, closed }) => finish(one, closed))));
    },
  };
}

/** Closing waits for BullMQ to note what has ended; without its store it would wait for ever, a forced close after it too. */
async function finish(worker: LaneWorker, closed: Promise<void>): Promise<void> {
  await within(closed, FINISH_MS, 'closing a worker').catch(() =>
    within(worker.disconnect(), FINISH_MS / 2, 'disconnecting a worker').catch(() => {}),
  );
}

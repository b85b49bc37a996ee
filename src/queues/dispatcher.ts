import type { BulkJobOptions } from 'bullmq';
import { createBatch } from '../db/batch.ts';
import type { Waiting } from '../db/tasks/repair.ts';
import { within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { LANES, type Lane } from '../tasks/lanes.ts';
import { type JobData, jobOptions, type QueueBackend } from './backend.ts';

/** A row that wants a job: a task, or a webhook delivery. The job gets the row's type as its name, and waits until `ready_at`. */
export interface Wake extends Omit<Waiting, 'place'> {
  kind: JobData['kind'];
}

export interface LaneCounts {
  waiting: number;
  active: number;
  delayed: number;
  completed: number;
  failed: number;
}

/** The only code that adds jobs. */
export interface Dispatcher {
  /**
   * Adds a job for each row, together with other callers'. Never throws and never waits long: rows are durable, and what
   * cannot be added now is added by the reconciler. Answers whether all were added.
   */
  enqueue(wakes: Wake[]): Promise<boolean>;
  /** Takes the waiting job of a row away, if it can. */
  remove(wake: Pick<Wake, 'lane' | 'id' | 'generation'>): Promise<void>;
  /** Those of the rows that have no job that will still run. @throws when the backend does not answer */
  findMissing<T extends Pick<Wake, 'lane' | 'id' | 'generation'>>(
    wakes: T[],
  ): Promise<Array<{ wake: T; finished: boolean }>>;
  /** Counts by BullMQ's states, per lane. @throws when the backend does not answer */
  counts(): Promise<Record<Lane, LaneCounts>>;
}

const ADD_TIMEOUT_MS = 2_000;
const AWAY_MS = 1_000;
const MAX_BULK = 1_000;

/** The id of the job that wakes a row: another generation is another job, whatever became of the earlier ones. */
export function jobId({ id, generation }: Pick<Wake, 'id' | 'generation'>): string {
  return `${id}_g${generation}`;
}

/** During a roll-out there are rows for lanes that only newer processes know; those are theirs to wake. */
function hasLane({ lane }: Pick<Wake, 'lane'>): boolean {
  return LANES.includes(lane);
}

/** Makes the dispatcher. @param keep how many finished jobs a lane keeps for the dashboard */
export function createDispatcher(
  backend: QueueBackend,
  keep: { completed: number; failed: number },
  log: Logger,
): Dispatcher {
  const shared = jobOptions(keep) as BulkJobOptions;

  /** A store that has just not answered is not asked again at once: what waits for it would pile up here. */
  let awayUntil = 0;

  async function add(lane: Lane, wakes: Wake[]): Promise<undefined[]> {
    if (!backend.isUp() || Date.now() < awayUntil) throw new Error(`${backend.kind} is away`);
    const now = Date.now();
    const jobs = wakes.map((wake) => ({
      name: wake.type,
      data: {
        kind: wake.kind,
        id: wake.id,
        generation: wake.generation,
        ...(wake.request_id ? { request_id: wake.request_id } : {}),
      },
      opts: {
        ...shared,
        jobId: jobId(wake),
        priority: wake.priority,
        ...(wake.ready_at.getTime() > now ? { delay: wake.ready_at.getTime() - now } : {}),
      },
    }));
    try {
      await within(backend.queue(lane).addBulk(jobs), ADD_TIMEOUT_MS, `the ${backend.kind} queue`);
    } catch (error) {
      awayUntil = Date.now() + AWAY_MS;
      throw error;
    }
    return [];
  }

  const adders = Object.fromEntries(
    LANES.map((lane) => [
      lane,
      createBatch<Wake, undefined>({ run: (wakes) => add(lane, wakes), max: MAX_BULK, parallel: 2 }),
    ]),
  ) as Record<Lane, (wake: Wake) => Promise<undefined>>;

  return {
    async enqueue(given) {
      const wakes = given.filter(hasLane);
      const results = await Promise.allSettled(wakes.map((wake) => adders[wake.lane](wake)));
      const failed = results.find((result) => result.status === 'rejected');
      // An outage is told of once, by the backend; this is for the rest.
      if (failed)
        log[backend.isUp() ? 'warn' : 'debug'](
          { err: failed.reason, jobs: wakes.length },
          'jobs could not be added; the reconciler adds them',
        );
      return !failed && wakes.length === given.length;
    },

    async remove(wake) {
      if (!backend.isUp()) return;
      // A job that is being run cannot be removed; its claim then finds nothing to do.
      await within(backend.queue(wake.lane).remove(jobId(wake)), ADD_TIMEOUT_MS, `the ${backend.kind} queue`).catch(
        (error) => log.debug({ err: error }, 'a job could not be removed'),
      );
    },

    async findMissing(given) {
      const wakes = given.filter(hasLane);
      const states = await within(
        Promise.all(wakes.map((wake) => backend.queue(wake.lane).getJobState(jobId(wake)))),
        ADD_TIMEOUT_MS * 5,
        `the ${backend.kind} queue`,
      );
      return wakes.flatMap((wake, index) => {
        const finished = states[index] === 'completed' || states[index] === 'failed';
        return finished || states[index] === 'unknown' ? [{ wake, finished }] : [];
      });
    },

    async counts() {
      const all = await within(
        Promise.all(
          LANES.map((lane) =>
            backend
              .queue(lane)
              .getJobCounts('waiting', 'prioritized', 'paused' as never, 'active', 'delayed', 'completed', 'failed'),
          ),
        ),
        ADD_TIMEOUT_MS,
        `the ${backend.kind} queue`,
      );
      return Object.fromEntries(
        LANES.map((lane, index) => {
          const { waiting = 0, prioritized = 0, active = 0, delayed = 0, completed = 0, failed = 0 } = all[index] ?? {};
          return [lane, { waiting: waiting + prioritized, active, delayed, completed, failed }];
        }),
      ) as Record<Lane, LaneCounts>;
    },
  };
}

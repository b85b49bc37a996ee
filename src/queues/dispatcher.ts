import type { BulkJobOptions } from 'bullmq';
import { createBatch } from '../db/batch.ts';
import { BY_LANE } from '../db/tasks/backlog.ts';
import type { Waiting } from '../db/tasks/waiting.ts';
import { within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { LANES, type Lane } from '../tasks/lanes.ts';
import { type JobData, type JobState, jobOptions, type QueueBackend } from './backend.ts';
import type { Intake } from './intake.ts';
import { type JobRef, jobId } from './job-id.ts';
import { turnOf } from './turn.ts';

/** A row that wants a job: a task, or a webhook delivery. The job gets the row's type as its name, and waits until `ready_at`. */
export interface Wake extends Omit<Waiting, 'place'> {
  kind: JobData['kind'];
  /** The workflow that the task is a step of. */
  parent_id?: string | null;
  /** What holds it back, and whether it was called all the same; who is held back gets no job. */
  held_by?: string | null;
  called?: boolean;
}

export interface LaneCounts {
  waiting: number;
  active: number;
  delayed: number;
  completed: number;
  failed: number;
}

/** The only code that adds jobs. */
export interface Dispatcher extends Pick<Intake, 'full' | 'dry'> {
  /** Says which of new tasks wait in the backlog of their lane: see {@link Intake.place}. */
  receive: Intake['place'];
  /**
   * Adds a job for each row that is not held back, together with other callers'; whoever waits in a backlog is told of. Never throws
   * and never waits long: rows are durable, and what cannot be added now is added by the reconciler. Answers whether all were added.
   */
  enqueue(wakes: Wake[]): Promise<boolean>;
  /** Adds a job for each row, a lane's in the order given. @throws when one cannot be added */
  restore(wakes: Wake[]): Promise<void>;
  /** Takes the waiting job of a row away, if it can; nothing is to be done for one that is held back. */
  remove(wake: JobRef & Pick<Wake, 'lane' | 'held_by' | 'called'>): Promise<void>;
  /** Those of the rows that have no job that will still run, in the order given. @throws when the backend does not answer */
  findMissing<T extends JobRef & { lane: Lane }>(wakes: T[]): Promise<Array<{ wake: T; finished: boolean }>>;
  /** Counts by BullMQ's states, per lane. @throws when the backend does not answer */
  counts(): Promise<Record<Lane, LaneCounts>>;
}

const ADD_TIMEOUT_MS = 2_000;
const STATES_TIMEOUT_MS = 10_000;
const AWAY_MS = 1_000;
const MAX_BULK = 1_000;
const CLOCKS_DIFFER_MS = 1_000;

/** During a roll-out there are rows for lanes that only newer processes know; those are theirs to wake. */
function hasLane({ lane }: { lane: Lane }): boolean {
  return LANES.includes(lane);
}

function wantsJob({ held_by, called }: Pick<Wake, 'held_by' | 'called'>): boolean {
  return !held_by || called === true;
}

/** Whether it waits now, for all that is known here: clocks differ. */
function isDue({ ready_at }: Pick<Wake, 'ready_at'>): boolean {
  return ready_at.getTime() <= Date.now() + CLOCKS_DIFFER_MS;
}

function byLane<T extends { lane: Lane }>(wakes: T[]): Map<Lane, T[]> {
  return Map.groupBy(wakes, ({ lane }) => lane);
}

interface Options {
  /** How many finished jobs a lane keeps for the dashboard. */
  completed: number;
  failed: number;
  /** How much waiting a class of priority is worth; see `turn.ts`. */
  agingMs: number;
  /** Without one, all come to the front. */
  intake?: Intake;
}

/** Makes the dispatcher. */
export function createDispatcher(backend: QueueBackend, options: Options, log: Logger): Dispatcher {
  const shared = jobOptions(options) as BulkJobOptions;

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
        ...(wake.parent_id ? { parent_id: wake.parent_id } : {}),
      },
      opts: {
        ...shared,
        jobId: jobId(wake),
        priority: turnOf(wake, options.agingMs),
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
      createBatch<Wake, undefined>({
        run: (wakes) => add(lane, wakes),
        max: MAX_BULK,
        parallel: 2,
      }),
    ]),
  ) as Record<Lane, (wake: Wake) => Promise<undefined>>;

  const { intake } = options;
  return {
    receive: (tasks) => intake?.place(tasks) ?? [...tasks],
    full: () => intake?.full() ?? [],
    dry: (lane) => intake?.dry(lane),
    async enqueue(given) {
      const wanted = given.filter(wantsJob);
      if (wanted.length < given.length)
        intake?.stored(given.filter((wake) => wake.held_by === BY_LANE && !wake.called && isDue(wake)));
      const wakes = wanted.filter(hasLane);
      const results = await Promise.allSettled(wakes.map((wake) => adders[wake.lane](wake)));
      const failed = results.find((result) => result.status === 'rejected');
      // An outage is told of once, by the backend; this is for the rest.
      if (failed)
        log[backend.isUp() ? 'warn' : 'debug'](
          { err: failed.reason, jobs: wakes.length },
          'jobs could not be added; the reconciler adds them',
        );
      return !failed && wakes.length === wanted.length;
    },

    async remove(wake) {
      if (!backend.isUp() || !wantsJob(wake)) return;
      // A job that is being run cannot be removed; its claim then finds nothing to do.
      await within(backend.queue(wake.lane).remove(jobId(wake)), ADD_TIMEOUT_MS, `the ${backend.kind} queue`).catch(
        (error) => log.debug({ err: error }, 'a job could not be removed'),
      );
    },

    async restore(wakes) {
      await Promise.all([...byLane(wakes)].map(([lane, own]) => add(lane, own)));
    },

    async findMissing(given) {
      const states = new Map<(typeof given)[number], JobState | undefined>();
      const ask = async (lane: Lane, wakes: typeof given) => {
        const found = await backend.jobStates(lane, wakes.map(jobId));
        wakes.forEach((wake, index) => {
          states.set(wake, found[index]);
        });
      };
      const asked = Promise.all([...byLane(given.filter(hasLane))].map(([lane, wakes]) => ask(lane, wakes)));
      await within(asked, STATES_TIMEOUT_MS, `the ${backend.kind} queue`);
      return given.flatMap((wake) => {
        const state = states.get(wake);
        return state === 'missing' || state === 'spent' ? [{ wake, finished: state === 'spent' }] : [];
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

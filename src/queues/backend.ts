import type { Job, JobsOptions, Processor, Queue, Worker, WorkerOptions } from 'bullmq';
import type { DatabaseAddress } from '../db/address.ts';
import type { Logger } from '../log.ts';
import type { Lane } from '../tasks/lanes.ts';
import { openPostgres } from './postgres-backend.ts';
import { openRedis } from './redis-backend.ts';
import type { RedisReach } from './redis-connect.ts';

export { migrateQueueBackend } from './postgres-backend.ts';

/** What a job carries: ids, never the payload. The rest is in the row that it wakes. */
export interface JobData {
  kind: 'task' | 'delivery';
  id: string;
  generation: number;
  request_id?: string;
  /** The workflow that the task is a step of. */
  parent_id?: string;
}

export type LaneQueue = Queue<JobData, void, string>;
export type LaneWorker = Worker<JobData, void, string>;
export type LaneProcessor = Processor<JobData, void, string>;
export type LaneJob = Job<JobData, void, string>;

/**
 * `live` is a job that will run or runs. `spent` is one that will not, and its id with it: a job under the same id would be
 * ignored without a word.
 */
export type JobState = 'missing' | 'live' | 'spent';

/** What is wrong with a store that answers: one word, and whether no job can be added or fetched. */
export interface StoreFlaw {
  reason: 'too_old' | 'replica' | 'evicts' | 'full' | 'cannot_persist';
  useless: boolean;
}

/** Where BullMQ keeps its jobs. Both kinds behave alike to the rest of the house. */
export interface QueueBackend {
  kind: 'redis' | 'postgres';
  queue(lane: Lane): LaneQueue;
  createWorker(lane: Lane, processor: LaneProcessor, options: Omit<WorkerOptions, 'connection' | 'prefix'>): LaneWorker;
  /** Whether adding has a chance now; a `false` saves the wait for a time-out. */
  isUp(): boolean;
  /** What became of jobs, in the order of their ids. @throws when the store does not answer */
  jobStates(lane: Lane, ids: string[]): Promise<JobState[]>;
  /** The ids of all jobs that wait or are delayed, page by page, in no order; what moves meanwhile may be missing or there twice. */
  listJobs(lane: Lane): AsyncIterable<string[]>;
  /** The ids of the jobs that a worker would be given next, in that order. @throws when the store does not answer */
  firstJobs(lane: Lane, count: number): Promise<string[]>;
  /** Puts a job that a worker was given back before those of its turn; the worker has to throw `WaitingError` then. */
  putBack(job: LaneJob, token: string): Promise<void>;
  /** Takes jobs away, except those that a worker holds; answers how many there were. */
  removeJobs(lane: Lane, ids: string[]): Promise<number>;
  /** A word that stays the same as long as no job can have been lost; `undefined` where the store is new or was emptied. */
  readEpoch(): Promise<string | undefined>;
  /** Marks the store as complete: its epoch is answered from now on. */
  writeEpoch(): Promise<void>;
  /** Takes that mark away, so that every row is compared with its job. */
  clearEpoch(): Promise<void>;
  /** Adds to counters that all processes share and that end with their time, and answers the sums; only where the store is not Postgres. */
  addCounts?: (counts: ReadonlyMap<string, number>, seconds: number) => Promise<Map<string, number>>;
  /** What is wrong with the store, as of a moment ago. */
  flaw(): StoreFlaw | undefined;
  /** Asks the store for its version. @throws when it cannot be reached */
  ping(): Promise<string>;
  close(): Promise<void>;
}

/** What it takes to open a backend. */
export interface BackendOptions {
  kind: 'redis' | 'postgres';
  redisUrl: string | undefined;
  redis?: RedisReach;
  databaseUrl: DatabaseAddress;
  prefix: string;
  /** How many workers this process opens on the backend; each listens on a connection of its own. */
  workers: number;
  log: Logger;
}

/** The options that every job of ours has. Attempts are counted in Postgres, so BullMQ must never run out of them. */
export function jobOptions(keep: { completed: number; failed: number }): JobsOptions {
  return {
    attempts: 1_000_000,
    backoff: { type: 'custom' },
    removeOnComplete: keep.completed === 0 ? true : { count: keep.completed },
    removeOnFail: keep.failed === 0 ? true : { count: keep.failed },
    stackTraceLimit: 0,
  };
}

/** Opens the backend. @throws UsageError when it cannot be reached, naming the variable to look at */
export async function openQueueBackend(options: BackendOptions): Promise<QueueBackend> {
  return options.kind === 'redis' ? openRedis(options) : openPostgres(options);
}

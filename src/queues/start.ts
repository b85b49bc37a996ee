import type pg from 'pg';
import type { Db } from '../db/connect.ts';
import type { Notifications } from '../db/notify.ts';
import type { Logger } from '../log.ts';
import type { Lane } from '../tasks/lanes.ts';
import { createAdmitter } from './admitter.ts';
import type { QueueBackend } from './backend.ts';
import { createDispatcher, type Dispatcher } from './dispatcher.ts';
import { createIntake } from './intake.ts';

interface Options {
  db: Db;
  /** For the office of the admitter, which keeps a connection. */
  pool: pg.Pool;
  backend: QueueBackend;
  notifications: Notifications;
  /** How many finished jobs a lane keeps for the dashboard, and how many tasks of one have a job while they wait. */
  queue: { keepCompleted: number; keepFailed: number; agingMs: number; jobsMax: number };
  /** For how long workers let a task go before others because its model is in memory. */
  models: { affinityMs: number };
  log: Logger;
}

/** The dispatcher of a process, and what lets tasks come to the front of their lanes; `close` stops that. */
export function startQueues({ queue, models, ...parts }: Options): {
  dispatcher: Dispatcher;
  close: () => Promise<void>;
} {
  const { keepCompleted: completed, keepFailed: failed, agingMs, jobsMax } = queue;
  const choosing = new Set<Lane>(models.affinityMs > 0 ? ['llm'] : []);
  const front = { most: jobsMax, agingMs, choosing };
  const intake = createIntake({ ...parts, ...front });
  const dispatcher = createDispatcher(parts.backend, { completed, failed, agingMs, intake }, parts.log);
  const admitter = createAdmitter({ ...parts, dispatcher, ...front });
  return { dispatcher, close: admitter.close };
}

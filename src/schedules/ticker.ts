import type { Transaction } from 'kysely';
import { isDatabaseAway } from '../db/away.ts';
import type { Db } from '../db/connect.ts';
import { findRoom, type RoomLimits } from '../db/room.ts';
import { type DueSchedule, moveSchedule, noteFailure, type ScheduleRow, takeDueSchedule } from '../db/schedules.ts';
import type { Database, Role } from '../db/schema.ts';
import type { NewTask } from '../db/tasks/accept.ts';
import { storeKeyed } from '../db/tasks/accept-keyed.ts';
import type { Transition } from '../db/tasks/transition.ts';
import { repeat } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { type AfterStore, tellMoved } from '../queues/after.ts';
import type { Wake } from '../queues/dispatcher.ts';
import { dueTicks, nextTick } from './clock.ts';

/** Why a tick starts no task. */
export interface Refusal {
  code: string;
  message: string;
}

/** Makes the task of a schedule, checked as it would be if it were submitted now. */
export type MakeTask = (schedule: ScheduleRow, db: Db) => Promise<NewTask | { refused: Refusal }>;

/** Starts the tasks of schedules when their time has come. Any number of processes may do it. */
export interface Ticker {
  /** Does what is due now; answers how many ticks it looked at. */
  tick(): Promise<number>;
  close(): Promise<void>;
}

interface Options extends AfterStore {
  db: Db;
  /** The task types that this process knows. */
  types: string[];
  make: MakeTask;
  /** Whether somebody with this role may submit tasks. */
  maySubmit: (role: Role) => boolean;
  limits: RoomLimits;
  log: Logger;
  everyMs?: number;
}

const EVERY_MS = 300;
/** How long a tick that failed is left alone. */
const FAILED_MS = 60_000;
/** A tick that is looked at no later than this counts as in time. */
const LATE_MS = 60_000;

/** Starts to look, a few times a second. */
export function createTicker(options: Options): Ticker {
  const { db, types, log, everyMs = EVERY_MS } = options;

  /** Schedules whose tick failed here, and until when they are left alone, so that the others go on. */
  const failed = new Map<string, number>();
  let closing = false;

  /** One tick of one schedule, in one transaction: its task is stored and the schedule moved on, or neither. */
  async function one(): Promise<'none' | 'done'> {
    let id: string | undefined;
    try {
      const done = await db.transaction().execute(async (trx) => {
        const schedule = await takeDueSchedule(trx, types, [...failed.keys()]);
        id = schedule?.id;
        return schedule && run(trx, schedule, options);
      });
      if (!done) return 'none';
      await tellMoved(done.superseded, options, done.jobs);
    } catch (error) {
      if (id === undefined || isDatabaseAway(error)) throw error;
      failed.set(id, Date.now() + FAILED_MS);
      log.error({ err: error, schedule_id: id }, 'the tick of a schedule failed; it is tried again later');
      await noteFailure(db, id);
    }
    return 'done';
  }

  async function tick(): Promise<number> {
    for (const [id, until] of failed) if (Date.now() > until) failed.delete(id);
    let looked = 0;
    while (!closing && (await one()) === 'done') looked++;
    return looked;
  }

  const stop = repeat(
    everyMs,
    async () => void (await tick()),
    (error) => log.debug({ err: error }, 'schedules could not be looked at; tried again'),
  );
  return {
    tick,
    close() {
      closing = true;
      return stop();
    },
  };
}

interface Done {
  jobs: Wake[];
  superseded: Transition[];
}

async function run(trx: Transaction<Database>, schedule: DueSchedule, options: Options): Promise<Done> {
  const { last, count } = dueTicks(schedule, schedule.next_run_at, schedule.now);
  const next = nextTick(schedule, last);
  const nothing: Done = { jobs: [], superseded: [] };
  if (schedule.catch_up === 'skip' && schedule.now.getTime() - last.getTime() > LATE_MS) {
    await moveSchedule(trx, schedule.id, { missed: count, next });
    return nothing;
  }
  const made = await makeAllowed(trx, schedule, options);
  if ('refused' in made) {
    await moveSchedule(trx, schedule.id, { error: made.refused, missed: count, next });
    return nothing;
  }
  const task = { ...made, schedule_id: schedule.id, scheduled_for: last.toISOString(), delay_ms: null };
  const { accepted, superseded } = await storeKeyed(trx, { tasks: options.dispatcher.receive([task]) });
  if (accepted.is !== 'stored') {
    const message = 'As many tasks with the concurrency key of the task as its limit allows had not ended.';
    await moveSchedule(trx, schedule.id, { error: { code: 'concurrency_limit', message }, missed: count, next });
    return nothing;
  }
  await moveSchedule(trx, schedule.id, { started: { taskId: task.id, tick: last }, missed: count - 1, next });
  return { jobs: accepted.rows.map((row) => ({ ...row, kind: 'task' as const })), superseded };
}

/** The task, where its owner may have it now. */
async function makeAllowed(
  trx: Transaction<Database>,
  schedule: DueSchedule,
  { make, maySubmit, limits }: Options,
): Promise<NewTask | { refused: Refusal }> {
  const { user_id, is_active, role } = schedule;
  if (!is_active) return refused('account_disabled', 'The account is switched off.');
  if (!maySubmit(role)) return refused('forbidden', `The role ${role} may not submit tasks.`);
  const made = await make(schedule, trx);
  if ('refused' in made) return made;
  const { room, bound } = await findRoom(trx, user_id, 1, limits);
  if (room > 0 || !bound) return made;
  return bound.limit === 'waiting_tasks'
    ? refused('quota-exceeded', `As many tasks of the account wait as may (${bound.most}, the limit waiting_tasks).`)
    : refused('quota-exceeded', `The ${bound.most} tokens of the day are used up (the limit tokens_per_day).`);
}

const refused = (code: string, message: string) => ({ refused: { code, message } });

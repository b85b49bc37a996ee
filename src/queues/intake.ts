import type { Db } from '../db/connect.ts';
import type { NewTask } from '../db/tasks/accept.ts';
import { type LaneState, readLaneStates, readPaces, sayBacklog } from '../db/tasks/backlog.ts';
import type { Logger } from '../log.ts';
import { LANES, type Lane } from '../tasks/lanes.ts';
import { type FrontOptions, frontSizes } from './front.ts';

/**
 * Says of new tasks whether they come to the front of their lane at once, with a job, or into its backlog. Nothing is asked for that: what a
 * process knows of the lanes is counted on by what it accepts itself, and looked up beside it a few times a second.
 */
export interface Intake {
  /** The same tasks; those that are to wait in the backlog are marked. They have to be stored right after. */
  place(tasks: readonly NewTask[]): NewTask[];
  /** The lanes that have no room in front now. */
  full(): Lane[];
  /** Looks how the lanes stand. @throws when the database does not answer */
  look(): Promise<void>;
}

interface Room {
  /** How many more may come to the front, and how many whose time has not come may wait in the queue store. */
  ready: number;
  later: number;
  /** What was let in since the last look began. */
  tookReady: number;
  tookLater: number;
  /** Whether something waits already that nobody may overtake, and whether it came since the last look began. */
  backlog: boolean;
  heldSince: boolean;
}

const LOOK_EVERY_MS = 200;
const PACE_EVERY_MS = 5_000;
/** So long after it was marked, a task is stored. */
const STORED_MS = 30;

/** Makes it, and looks for the first time. */
export function createIntake({ db, log, ...options }: FrontOptions & { db: Db; log: Logger }): Intake {
  const { most } = options;
  const enough = new Map<Lane, number>(
    LANES.map((lane) => [lane, frontSizes(lane, { slots: 0, mean_ms: null }, options).enough]),
  );
  const rooms = new Map<Lane, Room>(
    LANES.map((lane) => [
      lane,
      { ready: enough.get(lane) ?? 0, later: most, tookReady: 0, tookLater: 0, backlog: false, heldSince: false },
    ]),
  );
  let lookedAt = Number.NEGATIVE_INFINITY;
  let pacedAt = Number.NEGATIVE_INFINITY;

  async function look(): Promise<void> {
    lookedAt = performance.now();
    for (const room of rooms.values()) Object.assign(room, { tookReady: 0, tookLater: 0, heldSince: false });
    if (lookedAt - pacedAt > PACE_EVERY_MS) {
      pacedAt = lookedAt;
      for (const { lane, ...pace } of await readPaces(db, LANES))
        enough.set(lane, frontSizes(lane, pace, options).enough);
    }
    for (const state of await readLaneStates(db, LANES, 2 * most)) learn(state);
  }

  function learn({ lane, backlog, ready, later }: LaneState): void {
    const room = rooms.get(lane);
    if (!room) return;
    room.ready = (enough.get(lane) ?? 0) - ready - room.tookReady;
    room.later = most - later - room.tookLater;
    room.backlog = backlog || room.heldSince;
  }

  function lookSoon(): void {
    if (performance.now() - lookedAt < LOOK_EVERY_MS) return;
    look().catch((error) => log.debug({ err: error }, 'how the lanes stand could not be looked up'));
  }

  /** Whether a task is to be held back. */
  function holds(task: NewTask): boolean {
    const room = rooms.get(task.lane);
    if (!room) return false;
    if (isLater(task)) {
      if (room.later <= 0) return true;
      room.later--;
      room.tookLater++;
      return false;
    }
    if (room.backlog || room.ready <= 0) {
      begin(room);
      return true;
    }
    room.ready--;
    room.tookReady++;
    return false;
  }

  function begin(room: Room): void {
    room.heldSince = true;
    if (room.backlog) return;
    room.backlog = true;
    // Whoever sleeps looks every second all the same.
    setTimeout(
      () => sayBacklog(db).catch((error) => log.debug({ err: error }, 'nobody was told of a backlog')),
      STORED_MS,
    ).unref();
  }

  if (most > 0) lookSoon();
  return {
    place(tasks) {
      if (most === 0) return [...tasks];
      lookSoon();
      return tasks.map((task) => (holds(task) ? { ...task, held: true } : task));
    },
    full: () => (most === 0 ? [] : LANES.filter((lane) => rooms.get(lane)?.backlog)),
    look,
  };
}

function isLater({ delay_ms, scheduled_for }: NewTask): boolean {
  return (delay_ms ?? 0) > 0 || (scheduled_for !== null && Date.parse(scheduled_for) > Date.now());
}

import type { Db } from '../db/connect.ts';
import type { Notifications } from '../db/notify.ts';
import type { NewTask } from '../db/tasks/accept.ts';
import {
  BACKLOG_CHANNEL,
  type LaneState,
  readBacklogNews,
  readLaneStates,
  readPaces,
  sayBacklog,
} from '../db/tasks/backlog.ts';
import { createBell } from '../lifecycle.ts';
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
  /** These tasks were stored in the backlog. Whoever lets them to the front hears of it where it would be late otherwise. */
  stored(tasks: ReadonlyArray<{ lane: Lane }>): void;
  /** A worker of this process found no job. Where somebody is in the backlog, that is told. */
  dry(lane: Lane): void;
  /** The lanes that have a backlog now; what is put into it has to be said to be {@link Intake.stored}. */
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
  /** Which users and classes have come to the backlog since the last look, and whether one of them was the first of its kind. */
  lines: Set<string>;
  first: boolean;
}

/** So many times what a lane is to have are counted. */
const COUNTED = 2;
const LOOK_EVERY_MS = 200;
const PACE_EVERY_MS = 5_000;
const SAY_EVERY_MS = 20;

/** Makes it, and looks for the first time. */
export function createIntake({
  db,
  notifications,
  log,
  ...options
}: FrontOptions & { db: Db; notifications: Pick<Notifications, 'on' | 'onConnect'>; log: Logger }): Intake {
  const { most } = options;
  const enough = new Map<Lane, number>(
    LANES.map((lane) => [lane, frontSizes(lane, { slots: 0, mean_ms: null }, options).enough]),
  );
  const rooms = new Map<Lane, Room>(
    LANES.map((lane) => [
      lane,
      {
        ...{ ready: enough.get(lane) ?? 0, later: most, tookReady: 0, tookLater: 0 },
        ...{ backlog: false, heldSince: false, lines: new Set(), first: false },
      },
    ]),
  );
  let pacedAt = Number.NEGATIVE_INFINITY;

  async function look(): Promise<void> {
    for (const room of rooms.values()) {
      Object.assign(room, { tookReady: 0, tookLater: 0, heldSince: false });
      room.lines.clear();
    }
    const now = performance.now();
    if (now - pacedAt > PACE_EVERY_MS) {
      pacedAt = now;
      for (const { lane, ...pace } of await readPaces(db, LANES))
        enough.set(lane, frontSizes(lane, pace, options).enough);
    }
    for (const state of await readLaneStates(db, LANES, COUNTED * most)) learn(state);
  }

  function learn({ lane, backlog, ready, later }: LaneState): void {
    const room = rooms.get(lane);
    if (!room) return;
    // Where so many have a job already, others that are ready may stand behind those that were counted: whoever counts all decides.
    const known = ready + later < COUNTED * most ? ready : Number.POSITIVE_INFINITY;
    room.ready = (enough.get(lane) ?? 0) - known - room.tookReady;
    room.later = most - later - room.tookLater;
    room.backlog = backlog || room.heldSince;
  }

  const lookSoon = createBell(LOOK_EVERY_MS, () =>
    look().catch((error) => log.debug({ err: error }, 'how the lanes stand could not be looked up')),
  );

  /** The lanes of which is to be told that somebody is in their backlog. */
  const news = new Set<Lane>();
  const saySoon = createBell(SAY_EVERY_MS, () => {
    const lanes = [...news];
    news.clear();
    // Whoever sleeps looks every second all the same.
    return sayBacklog(db, { some: true, lanes }).catch((error) =>
      log.debug({ err: error }, 'nobody was told of a backlog'),
    );
  });
  function say(lane: Lane): void {
    news.add(lane);
    saySoon();
  }

  /** Whether a task is to be held back. */
  function holds(task: NewTask): boolean {
    const room = rooms.get(task.lane);
    if (!room) return false;
    if (isLater(task)) {
      // Or with a delay of a moment anybody would get round those who wait.
      if (room.later <= 0 || room.backlog || room.ready <= 0) return true;
      room.later--;
      room.tookLater++;
      return false;
    }
    if (room.backlog || room.ready <= 0) {
      const line = `${task.user_id} ${task.priority}`;
      room.first ||= !room.backlog || !room.lines.has(line);
      room.lines.add(line);
      room.backlog = true;
      room.heldSince = true;
      return true;
    }
    room.ready--;
    room.tookReady++;
    return false;
  }

  function isNearlyFull(lane: Lane): boolean {
    const room = rooms.get(lane);
    return room !== undefined && (room.backlog || room.ready < (enough.get(lane) ?? 0) / 2);
  }

  notifications.on(BACKLOG_CHANNEL, (payload) => {
    const { some, lanes } = readBacklogNews(payload);
    for (const lane of some ? lanes : []) Object.assign(rooms.get(lane) ?? {}, { backlog: true, heldSince: true });
    if (!some && most > 0) lookSoon();
  });

  // What was said before is not known.
  notifications.onConnect(() => most > 0 && lookSoon());
  if (most > 0) lookSoon();
  return {
    place(tasks) {
      if (most === 0) return [...tasks];
      lookSoon();
      const placed = tasks.map((task) => (holds(task) ? { ...task, held: true } : task));
      // Once more after them: if nothing comes any more, what is known stays true.
      if (tasks.some(({ lane }) => isNearlyFull(lane))) lookSoon();
      return placed;
    },
    stored(tasks) {
      for (const { lane } of tasks) {
        const room = rooms.get(lane);
        if (!room || (room.backlog && !room.first)) continue;
        room.first = false;
        say(lane);
      }
    },
    dry(lane) {
      if (rooms.get(lane)?.backlog) say(lane);
    },
    full() {
      const full = most === 0 ? [] : LANES.filter((lane) => rooms.get(lane)?.backlog);
      for (const lane of full) Object.assign(rooms.get(lane) ?? {}, { first: true });
      return full;
    },
    look,
  };
}

function isLater({ delay_ms, scheduled_for }: NewTask): boolean {
  return (delay_ms ?? 0) > 0 || (scheduled_for !== null && Date.parse(scheduled_for) > Date.now());
}

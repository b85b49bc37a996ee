import { LAST_PRIORITY, turnOf } from './turn.ts';

/** The tasks of one user in one class that wait for a job; the first of them is the next. */
export interface Line {
  user: string;
  priority: number;
  /** Since when the first of them waits, in milliseconds since 1970. */
  since: number;
  /** What one of them is likely to cost; the average task of the lane costs 1. */
  cost: number;
  /** How many they are; as far as nobody has counted, without end. */
  tasks: number;
}

/** What is in front of a lane: the tasks that have a job and wait for a worker. */
export interface Front {
  /** How many keep all workers busy until somebody looks again. */
  enough: number;
  /** How many there may be; more than enough only where workers want to choose among them. */
  size: number;
  /** How many there are of each turn. */
  turns: Map<number, number>;
  /** How many there are of each user. */
  users: Map<string, number>;
}

/** One task that comes to the front. */
export interface Admitted {
  line: Line;
  /** The class in which it competed. */
  level: number;
  /** From when on it stands in line in front, in milliseconds since 1970. */
  from: number;
}

/** Who comes to the front; `more` where others, whose lines were not given, are to be looked at before anybody has a second turn. */
export interface Admission {
  admitted: Admitted[];
  more: boolean;
}

/** Says who comes to the front of a lane next. It remembers what its users had, and nothing else. */
export interface FairLane {
  /**
   * Lets tasks come to the front, and counts them there.
   * @param whole whether the lines are those of all who wait
   */
  admit(lines: readonly Line[], front: Front, now: number, whole: boolean): Admission;
  /** What came to the front costs more or less than was thought; nothing where it was not there any more. */
  correct(admitted: Admitted, cost: number): void;
}

/** What users had in one class, in average tasks. */
interface Ring {
  /** In the n-th round, each user has a claim to n average tasks. */
  round: number;
  had: Map<string, number>;
}

/** By so much of a class, whoever has nothing in front goes before those of the same class that are there. */
const EARLY = 0.75;
/** So long after it came to the front, a task of somebody else goes before it if that one is early, in spans. A turn lasts half a span. */
export const OVERTAKEN = EARLY - 0.5;
const REMEMBERED = 10_000;
/** Where many users wait, only a part of them is looked at together; so long it counts that an old task was seen. */
const SEEN_MS = 5_000;

/** In which class a task competes now: each span of waiting makes it one class more urgent. */
export function classOf({ priority, since }: Pick<Line, 'priority' | 'since'>, now: number, agingMs: number): number {
  if (agingMs === 0) return priority;
  return Math.max(1, Math.min(priority, priority - Math.floor((now - since) / agingMs)));
}

/**
 * Deficit round robin over the users of each class, the most urgent class first.
 *
 * In each round a user has a claim to one average task. Who has a claim left is served, and goes into debt where the task
 * costs more; who had the least is served first. A round is over when nobody who waits has a claim left, and what a user
 * who does not wait has not used is lost. So of two users who both wait all the time, none is ever ahead by more than one average task
 * and the dearest of either, and a user who comes newly is served in the round that is on its way.
 *
 * Waiting makes a class more urgent by one each span in which its oldest task has waited; in the class to which it has risen its users have
 * one claim each with those of that class. So the last class waits for nine spans and a round, whatever comes. And with it rises what is more
 * urgent than it: the heap of a user, however old, goes before no class that is not behind its own, and before no other user of its own.
 *
 * A task fits in front where less than enough stand before its turn there. Therefore one that is more urgent than what is in front always
 * fits, and so does the first one of a user who has none there: it goes to the head of its class.
 *
 * @param agingMs how much waiting a class of priority is worth; with 0 the order of classes is strict, and nobody goes to the head
 */
export function createFairLane(agingMs: number): FairLane {
  const rings = new Map<number, Ring>();
  /** Since when somebody waits in each class, and when that was seen. */
  const oldest = new Map<number, { since: number; seenAt: number }>();

  function ringOf(level: number): Ring {
    const ring = rings.get(level) ?? { round: 1, had: new Map() };
    rings.set(level, ring);
    return ring;
  }

  const hadOf = ({ round, had }: Ring, user: string) => Math.max(had.get(user) ?? 0, round - 1);

  /** In which class each class competes now: in none that is behind that of a less urgent one. */
  function levelsOf(lines: readonly Line[], now: number): number[] {
    for (const { priority, since } of lines) {
      const known = oldest.get(priority);
      if (!known || known.since >= since || known.seenAt < now - SEEN_MS) oldest.set(priority, { since, seenAt: now });
    }
    const levels: number[] = [];
    let behind = LAST_PRIORITY;
    for (let priority = LAST_PRIORITY; priority >= 1; priority--) {
      const known = oldest.get(priority);
      const fresh = known !== undefined && known.seenAt >= now - SEEN_MS;
      behind = Math.min(behind, fresh ? classOf({ priority, since: known.since }, now, agingMs) : priority);
      levels[priority] = behind;
    }
    return levels;
  }

  /** When a task would stand in line in front, and its turn there; `undefined` where it does not fit. */
  function placeOf({ user, priority }: Line, level: number, front: Front, share: number, now: number) {
    const own = front.users.get(user) ?? 0;
    const early = own === 0 ? EARLY * agingMs : 0;
    const from = now - (priority - level) * agingMs - early;
    const turn = turnOf({ priority, ready_at: new Date(from), queued_at: null }, agingMs);
    let before = 0;
    for (const [other, count] of front.turns) if (other <= turn) before += count;
    const room = early > 0 || own < share ? front.size : front.enough;
    return before < room ? { from, turn } : undefined;
  }

  function advance(ring: Ring, to: number): void {
    ring.round = to;
    if (ring.had.size <= REMEMBERED) return;
    // It says no more than nothing would.
    for (const [user, had] of ring.had) if (had <= to - 1) ring.had.delete(user);
  }

  /** Serves the users of a class; answers whether others have to be looked at first. */
  function serve(
    level: number,
    lines: Line[],
    front: Front,
    now: number,
    whole: boolean,
    admitted: Admitted[],
  ): boolean {
    const ring = ringOf(level);
    const dueAt = ({ since, priority }: Line) => (agingMs === 0 ? since : since + (priority - 1) * agingMs);
    const users = Map.groupBy(
      lines.toSorted((a, b) => dueAt(a) - dueAt(b)),
      ({ user }) => user,
    );
    const left = new Map(lines.map((line) => [line, line.tasks]));
    const share = front.size / new Set([...front.users.keys(), ...users.keys()]).size;
    for (;;) {
      let next: { line: Line; had: number; from: number; turn: number } | undefined;
      let least = Number.POSITIVE_INFINITY;
      for (const [user, own] of users) {
        const line = own.find((one) => (left.get(one) as number) > 0);
        if (!line) users.delete(user);
        if (!line) continue;
        const had = hadOf(ring, user);
        least = Math.min(least, had);
        if (next && next.had <= had) continue;
        const place = placeOf(line, level, front, share, now);
        if (place) next = { line, had, ...place };
      }
      if (!next) return false;
      if (least >= ring.round) {
        if (!whole) return true;
        advance(ring, Math.floor(least) + 1);
      }
      // Those who have a claim and do not fit now are not to be overtaken by a second one.
      if (next.had >= ring.round) return false;
      const { line, had, from, turn } = next;
      ring.had.set(line.user, had + line.cost);
      left.set(line, (left.get(line) as number) - 1);
      front.turns.set(turn, (front.turns.get(turn) ?? 0) + 1);
      front.users.set(line.user, (front.users.get(line.user) ?? 0) + 1);
      admitted.push({ line, level, from });
    }
  }

  return {
    admit(lines, front, now, whole) {
      const levels = levelsOf(lines, now);
      const classes = Map.groupBy(lines, ({ priority }) => levels[priority] as number);
      const admitted: Admitted[] = [];
      let more = false;
      for (let level = 1; level <= LAST_PRIORITY; level++) {
        const own = classes.get(level);
        more = own !== undefined && serve(level, own, front, now, whole, admitted);
        if (more) break;
      }
      return { admitted, more };
    },
    correct({ line, level }, cost) {
      const ring = ringOf(level);
      ring.had.set(line.user, hadOf(ring, line.user) + cost - line.cost);
    },
  };
}

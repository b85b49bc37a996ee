import type { Db } from '../db/connect.ts';
import {
  type BacklogLine,
  type Call,
  type Called,
  COUNTED,
  callBacklog,
  type InFront,
  type LineCursor,
  readFronts,
  readLines,
} from '../db/tasks/backlog.ts';
import { LANES, type Lane } from '../tasks/lanes.ts';
import type { Dispatcher } from './dispatcher.ts';
import { type Admitted, createFairLane, type FairLane, type Front, type Line } from './fair.ts';
import { type FrontOptions, frontSizes, type LanePace } from './front.ts';
import { BASE_MS, queuedFor, turnOf } from './turn.ts';

/** What a round came to: how many came to the front, in which lanes anybody was in the backlog, and whether the front of one was nearly empty. */
export interface AdmittedLanes {
  admitted: number;
  lanes: Lane[];
  hurry: boolean;
}

/** One round over the backlogs of all lanes; what it remembers in between is who had how much. */
export interface AdmitRound {
  run(): Promise<AdmittedLanes>;
  /**
   * What is known of how quickly lanes work, and of what their average tasks cost.
   * @param crowded the lanes in which far more have a job than are to, because they are to be tried again later
   */
  learn(paces: ReadonlyArray<LanePace & { lane: Lane }>, means: ReadonlyMap<Lane, number>, crowded: Set<Lane>): void;
  /** Somebody else did it meanwhile. */
  forget(): void;
}

/** A lane in a round. */
interface Work {
  lane: Lane;
  front: Front;
  /** How many are in front. */
  total: number;
  done: boolean;
}

/** More in front than this are not counted. */
const COUNTED_IN_FRONT = 10_000;
/** So many lines of a class are looked at together, and so often in a round. */
const LINES = { least: 64, most: 512 };
const READS = 8;
const COSTS = { least: 1 / 16, most: 16 };
/** So many times as large a front may become whose lane turned out to be quicker than was known. */
const MOST_GROWTH = 64;

/** Makes it. */
export function createAdmitRound({
  db,
  dispatcher,
  ...options
}: FrontOptions & { db: Db; dispatcher: Dispatcher }): AdmitRound {
  const { agingMs, most } = options;
  const fair = new Map<Lane, FairLane>();
  const paces = new Map<Lane, LanePace>();
  /** How many times as large its front is as was thought, and whether the last look left it full. */
  const growth = new Map<Lane, { factor: number; filled: boolean }>();
  let means: ReadonlyMap<Lane, number> = new Map();
  let crowded = new Set<Lane>();
  /** From which user on each class is looked at, where not all are looked at together. */
  let cursors = new Map<string, LineCursor>();

  const fairLane = (lane: Lane) => {
    const known = fair.get(lane) ?? createFairLane(agingMs);
    fair.set(lane, known);
    return known;
  };
  const stepMs = agingMs / 2;
  const turnAt = (priority: number, from: number) =>
    turnOf({ priority, ready_at: new Date(from), queued_at: null }, agingMs);
  const meanOf = (lane: Lane, cost: number | null) => {
    const mean = means.get(lane);
    return cost === null || !mean ? 1 : Math.max(COSTS.least, Math.min(COSTS.most, cost / mean));
  };

  function open(lane: Lane, rows: InFront[]): Work {
    const front: Front = { enough: 0, size: 0, turns: new Map(), users: new Map() };
    let total = 0;
    for (const { priority, user_id, step, count } of rows) {
      if (priority === null) continue;
      const turn = turnAt(priority, BASE_MS + step * stepMs);
      front.turns.set(turn, (front.turns.get(turn) ?? 0) + count);
      front.users.set(user_id, (front.users.get(user_id) ?? 0) + count);
      total += count;
    }
    Object.assign(front, sizesOf(lane, total));
    return { lane, front, total, done: false };
  }

  /** Where a front that was full runs dry between two looks, its lane is quicker than was known. */
  function sizesOf(lane: Lane, total: number) {
    // One at a time, and whoever is more urgent.
    if (crowded.has(lane)) return { enough: 1, size: 1 };
    const pace = paces.get(lane) ?? { slots: 0, mean_ms: null };
    const { enough, size } = frontSizes(lane, pace, options);
    const known = growth.get(lane) ?? { factor: 1, filled: false };
    const now = Math.min(most, enough * known.factor);
    let { factor } = known;
    if (known.filled && pace.slots > 0 && total < now / 4) factor = Math.min(MOST_GROWTH, factor * 2);
    else if (total > now / 2) factor = Math.max(1, factor * 0.95);
    growth.set(lane, { factor, filled: false });
    const grown = Math.min(most, Math.ceil(enough * factor));
    return { enough: grown, size: Math.max(size, grown) };
  }

  /** The lines of a lane, whether they are all, and whether nobody was found where it went on, so that it begins anew. */
  function linesOf(lane: Lane, rows: BacklogLine[], limit: number, asked: ReadonlyMap<string, LineCursor>) {
    let whole = true;
    let anew = false;
    for (const [key, { priority, ...cursor }] of asked) {
      if (cursor.lane !== lane) continue;
      cursors.delete(key);
      whole = false;
      anew ||= !rows.some((row) => row.lane === lane && row.priority === priority);
    }
    for (const [priority, own] of Map.groupBy(
      rows.filter((row) => row.lane === lane),
      (row) => row.priority,
    )) {
      if (own.length < limit) continue;
      whole = false;
      const users = own.map(({ user_id }) => user_id);
      cursors.set(`${lane} ${priority}`, { lane, priority, after: users.toSorted().at(-1) as string });
    }
    const lines = rows.flatMap((row): Line[] =>
      row.lane !== lane || row.since === null
        ? []
        : [
            {
              ...{ user: row.user_id, priority: row.priority, since: row.since, cost: meanOf(lane, row.cost) },
              tasks: row.tasks < COUNTED ? row.tasks : Number.POSITIVE_INFINITY,
            },
          ],
    );
    return { lines, whole, anew };
  }

  /** Lets them be called, and takes back what was not there any more; answers how many came. */
  async function call(chosen: Array<{ work: Work; one: Admitted }>, now: number): Promise<number> {
    const calls = new Map<string, Call>();
    for (const [place, { work, one }] of chosen.entries()) {
      const { user, priority } = one.line;
      const key = `${work.lane} ${user} ${priority}`;
      const known = calls.get(key) ?? { lane: work.lane, user_id: user, priority, ago_ms: [], place: [] };
      calls.set(key, known);
      known.ago_ms.push(now - queuedFor(one.from, now, agingMs));
      known.place.push(place);
    }
    const rows = await callBacklog(db, [...calls.values()]);
    await dispatcher.enqueue(rows.map((row) => ({ ...row, kind: 'task' as const })));
    const came = new Map<number, Called>(rows.map((row) => [row.called_as, row]));
    for (const [place, { work, one }] of chosen.entries()) {
      const row = came.get(place);
      fairLane(work.lane).correct(one, row ? meanOf(work.lane, row.cost) : 0);
      if (!row) takeBack(work.front, one);
    }
    return rows.length;
  }

  function takeBack(front: Front, { line, from }: Admitted): void {
    const turn = turnAt(line.priority, from);
    front.turns.set(turn, (front.turns.get(turn) ?? 1) - 1);
    front.users.set(line.user, (front.users.get(line.user) ?? 1) - 1);
  }

  async function run(): Promise<AdmittedLanes> {
    const found = await readFronts(db, LANES, { fromMs: BASE_MS, ms: stepMs }, COUNTED_IN_FRONT);
    const works = [...Map.groupBy(found, ({ lane }) => lane)].map(([lane, rows]) => open(lane, rows));
    for (const lane of growth.keys()) if (!works.some((work) => work.lane === lane)) growth.delete(lane);
    const hurry = works.some(({ total, front }) => total < front.enough / 2);
    let admitted = 0;
    for (let reads = 1; reads <= READS && works.some(({ done }) => !done); reads++)
      admitted += await pass(
        works.filter(({ done }) => !done),
        reads === READS,
      );
    for (const { lane, front } of works) {
      const known = growth.get(lane);
      if (known) known.filled = [...front.turns.values()].reduce((sum, count) => sum + count, 0) >= front.enough;
    }
    return { admitted, lanes: works.map(({ lane }) => lane), hurry };
  }

  /** Looks at a part of the lines of lanes; those that have all that fits are done. */
  async function pass(works: Work[], last: boolean): Promise<number> {
    const wanted = Math.max(...works.map(({ total, front }) => front.enough - total));
    const limit = Math.max(LINES.least, Math.min(LINES.most, wanted));
    const asked = cursors;
    cursors = new Map(cursors);
    const rows = await readLines(
      db,
      works.map(({ lane }) => lane),
      [...asked.values()],
      limit,
    );
    // Not our own clock: rows stand in front by that of the database.
    const now = rows[0]?.now ?? Date.now();
    const chosen: Array<{ work: Work; one: Admitted }> = [];
    for (const work of works) {
      const { lines, whole, anew } = linesOf(work.lane, rows, limit, asked);
      const { admitted, more } = fairLane(work.lane).admit(lines, work.front, now, whole || last);
      // Where all of these may run no more now, others may.
      work.done = !more && !anew && (whole || lines.length > 0);
      chosen.push(...admitted.map((one) => ({ work, one })));
    }
    if (chosen.length === 0) return 0;
    const came = await call(chosen, now);
    // Where some were not there any more, there is room for others.
    if (came < chosen.length) for (const { work } of chosen) work.done = false;
    return came;
  }

  return {
    run,
    learn(given, costs, full) {
      for (const { lane, ...pace } of given) paces.set(lane, pace);
      means = costs;
      crowded = full;
    },
    forget() {
      fair.clear();
      growth.clear();
      cursors.clear();
    },
  };
}

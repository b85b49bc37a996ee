import { createFairLane, type Front, type Line } from '../../../src/queues/fair.ts';
import { turnOf } from '../../../src/queues/turn.ts';
import { createHeap } from './heap.ts';

/** A task that somebody submits; times in milliseconds from the beginning. */
export interface SimTask {
  user: string;
  at: number;
  priority: number;
  ms: number;
}

/** A task that ran. */
export interface SimRun extends SimTask {
  started: number;
}

/** In the order of arrival; by priority and then by arrival; or as this product does it. */
export const ORDERS = ['first come', 'strict priority', 'ours'] as const;
export type Order = (typeof ORDERS)[number];

export interface SimOptions {
  order: Order;
  slots: number;
  agingMs: number;
}

const START = Date.UTC(2026, 0, 2);
const TICK_MS = 100;
/** So soon somebody looks where a slot is free while others wait. */
const SOON_MS = 20;
/** A mean over about so many tasks. */
const REMEMBERED = 20;

/** Runs tasks on a lane with so many slots; nothing in it is random. Answers them in the order in which they started. */
export function simulate(tasks: readonly SimTask[], options: SimOptions): SimRun[] {
  const arrivals = tasks.toSorted((a, b) => a.at - b.at);
  const ends = createHeap<{ at: number; task: SimTask }>((a, b) => a.at - b.at);
  const runs: SimRun[] = [];
  const line = options.order === 'ours' ? fairLine(options) : simpleLine(options.order);
  let next = 0;
  let now = 0;
  let tick = Number.POSITIVE_INFINITY;
  for (;;) {
    while (next < arrivals.length && (arrivals[next] as SimTask).at <= now) line.add(arrivals[next++] as SimTask, now);
    for (let end = ends.peek(); end && end.at <= now; end = ends.peek()) line.ended((ends.pop() as typeof end).task);
    if (tick <= now) line.look(now);
    for (
      let task = ends.size() < options.slots && line.take();
      task;
      task = ends.size() < options.slots && line.take()
    ) {
      runs.push({ ...task, started: now });
      ends.push({ at: now + task.ms, task });
    }
    tick = line.backlog() > 0 ? (Math.floor(now / TICK_MS) + 1) * TICK_MS : Number.POSITIVE_INFINITY;
    if (line.backlog() > 0 && ends.size() < options.slots) tick = Math.min(tick, now + SOON_MS);
    now = Math.min(arrivals[next]?.at ?? Number.POSITIVE_INFINITY, ends.peek()?.at ?? Number.POSITIVE_INFINITY, tick);
    if (now === Number.POSITIVE_INFINITY) return runs;
  }
}

interface SimLine {
  add(task: SimTask, now: number): void;
  take(): SimTask | undefined;
  ended(task: SimTask): void;
  look(now: number): void;
  /** How many wait without a job. */
  backlog(): number;
}

function simpleLine(order: Exclude<Order, 'ours'>): SimLine {
  const heap = createHeap<{ task: SimTask; n: number }>(
    (a, b) => (order === 'first come' ? 0 : a.task.priority - b.task.priority) || a.n - b.n,
  );
  let n = 0;
  return {
    add: (task) => heap.push({ task, n: n++ }),
    take: () => heap.pop()?.task,
    ended: () => {},
    look: () => {},
    backlog: () => 0,
  };
}

/** Says by turn and then by who came first who is next, as BullMQ does; the others wait behind until they are let to the front. */
function fairLine({ slots, agingMs }: SimOptions): SimLine {
  const fair = createFairLane(agingMs);
  const heap = createHeap<{ task: SimTask; turn: number; n: number }>((a, b) => a.turn - b.turn || a.n - b.n);
  const waiting = new Map<string, { tasks: SimTask[]; taken: number }>();
  const costs = new Map<string, number>();
  const front: Front = { enough: 2 * slots, size: 2 * slots, turns: new Map(), users: new Map() };
  let mean = 0;
  let n = 0;
  let behind = 0;

  const turnAt = (priority: number, from: number) =>
    turnOf({ priority, ready_at: new Date(from), queued_at: null }, agingMs);
  const keyOf = ({ user, priority }: Pick<SimTask, 'user' | 'priority'>) => `${user} ${priority}`;
  const count = <K>(map: Map<K, number>, key: K, by: number) => {
    const sum = (map.get(key) ?? 0) + by;
    if (sum === 0) map.delete(key);
    else map.set(key, sum);
  };
  const learn = (before: number | undefined, ms: number) => (before ? before + (ms - before) / REMEMBERED : ms);

  return {
    add(task, now) {
      if (behind === 0 && heap.size() < front.enough) {
        const turn = turnAt(task.priority, START + now);
        count(front.turns, turn, 1);
        count(front.users, task.user, 1);
        heap.push({ task, turn, n: n++ });
        return;
      }
      const own = waiting.get(keyOf(task)) ?? { tasks: [], taken: 0 };
      waiting.set(keyOf(task), own);
      own.tasks.push(task);
      behind++;
    },
    take() {
      const first = heap.pop();
      if (!first) return undefined;
      count(front.turns, first.turn, -1);
      count(front.users, first.task.user, -1);
      return first.task;
    },
    ended({ user, ms }) {
      costs.set(user, learn(costs.get(user), ms));
      mean = learn(mean, ms);
    },
    look(now) {
      const lines = [...waiting.values()].map(({ tasks, taken }): Line => {
        const { user, priority, at } = tasks[taken] as SimTask;
        const cost = Math.max(1 / 16, Math.min(16, (costs.get(user) ?? mean) / (mean || 1) || 1));
        return { user, priority, since: START + at, cost, tasks: tasks.length - taken };
      });
      for (const { line, from } of fair.admit(lines, front, START + now, true).admitted) {
        const own = waiting.get(keyOf(line)) as { tasks: SimTask[]; taken: number };
        heap.push({ task: own.tasks[own.taken++] as SimTask, turn: turnAt(line.priority, from), n: n++ });
        if (own.taken === own.tasks.length) waiting.delete(keyOf(line));
        behind--;
      }
    },
    backlog: () => behind,
  };
}

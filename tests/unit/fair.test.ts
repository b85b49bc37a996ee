import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { classOf, createFairLane, type Front, type Line } from '../../src/queues/fair.ts';
import { frontSizes } from '../../src/queues/front.ts';
import { turnOf } from '../../src/queues/turn.ts';
import { randomFrom } from '../load/fairness/scenarios.ts';
import { ORDERS, type SimTask, simulate } from '../load/fairness/simulate.ts';

const SPAN_MS = 600_000;
const NOW = Date.UTC(2026, 10, 25, 12);

const front = (enough: number, size = enough): Front => ({ enough, size, turns: new Map(), users: new Map() });
const line = (user: string, more: Partial<Line> = {}): Line => ({
  ...{ user, priority: 5, since: NOW - 1_000, cost: 1, tasks: Number.POSITIVE_INFINITY },
  ...more,
});
const total = ({ turns }: Front) => [...turns.values()].reduce((sum, count) => sum + count, 0);
const turnFrom = (priority: number, from: number) =>
  turnOf({ priority, ready_at: new Date(from), queued_at: null }, SPAN_MS);

const anyLine = fc.record({
  user: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
  priority: fc.integer({ min: 1, max: 10 }),
  since: fc.integer({ min: NOW - 20 * SPAN_MS, max: NOW }),
  cost: fc.double({ min: 1 / 16, max: 16, noNaN: true }),
  tasks: fc.integer({ min: 1, max: 30 }),
});
const anyLines = fc.uniqueArray(anyLine, { selector: ({ user, priority }) => `${user} ${priority}`, maxLength: 20 });

describe('who comes to the front of a lane', () => {
  it('is somebody as long as somebody waits and there is not enough in front', () => {
    fc.assert(
      fc.property(anyLines, fc.integer({ min: 1, max: 200 }), fc.constantFrom(0, SPAN_MS), (lines, enough, agingMs) => {
        const there = front(enough);
        const { admitted, more } = createFairLane(agingMs).admit(lines, there, NOW, true);
        const waiting = lines.reduce((sum, { tasks }) => sum + tasks, 0);
        expect(more).toBe(false);
        expect(admitted.length).toBe(total(there));
        expect(admitted.length).toBeGreaterThanOrEqual(Math.min(waiting, enough));
        // Each class, and those who go to its head, may fill the front once.
        expect(total(there)).toBeLessThanOrEqual(20 * enough);
      }),
    );
  });

  it('is each user for the same cost, within one average task and the dearest of the two', () => {
    const costs = fc.array(fc.double({ min: 1 / 16, max: 16, noNaN: true }), { minLength: 2, maxLength: 6 });
    fc.assert(
      fc.property(costs, fc.integer({ min: 1, max: 40 }), (all, enough) => {
        const fair = createFairLane(SPAN_MS);
        const had = all.map(() => 0);
        for (let look = 0; look < 30; look++) {
          const lines = all.map((cost, n) => line(`${n}`, { cost }));
          // All that was in front has started, so that nobody is early because of chance.
          for (const { line } of fair.admit(lines, front(enough), NOW, true).admitted)
            had[Number(line.user)]! += line.cost;
          for (const [n, one] of had.entries())
            for (const [m, other] of had.entries())
              expect(Math.abs(one - other)).toBeLessThanOrEqual(1 + Math.max(all[n]!, all[m]!) + 1e-9);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('is the first task of another user at once, however full the front is, and it goes to the head of its class', () => {
    const fair = createFairLane(SPAN_MS);
    const there = front(8);
    const { admitted: heavy } = fair.admit([line('heavy')], there, NOW, true);
    expect(heavy).toHaveLength(8);
    const { admitted } = fair.admit([line('heavy'), line('light', { tasks: 3 })], there, NOW + 100_000, true);
    expect(admitted.map(({ line }) => line.user)).toEqual(['light']);
    const turns = heavy.slice(1).map(({ from }) => turnFrom(5, from));
    expect(Math.min(...turns)).toBeGreaterThan(turnFrom(5, admitted[0]!.from));
  });

  it('is a user who comes again and again no more than once a round', () => {
    const fair = createFairLane(SPAN_MS);
    const there = front(4);
    fair.admit([line('heavy')], there, NOW, true);
    const again = () => {
      const { admitted } = fair.admit([line('heavy'), line('light')], there, NOW, true);
      there.users.delete('light');
      return admitted.map(({ line }) => line.user);
    };
    // In the round that was on its way, and in the next one.
    expect([again(), again(), again(), again()]).toEqual([['light'], ['light'], [], []]);
    // Those of the other have started that were not first.
    there.turns.set(Math.max(...there.turns.keys()), 0);
    expect(again()).toEqual(['heavy', 'light']);
    expect(again()).toEqual([]);
  });

  it('is what is more urgent, above what is in front; and with 0 for a span the order of classes is strict', () => {
    for (const agingMs of [SPAN_MS, 0]) {
      const fair = createFairLane(agingMs);
      const there = front(4);
      fair.admit([line('a', { priority: 5 })], there, NOW, true);
      const { admitted } = fair.admit([line('a', { priority: 6 }), line('a', { priority: 4 })], there, NOW, true);
      expect(new Set(admitted.map(({ line }) => line.priority))).toEqual(new Set([4]));
      // The head of a class may be as urgent as the rest of the class before.
      expect(admitted.length).toBeGreaterThanOrEqual(3);
    }
  });

  it('competes in a class that is more urgent by one for each span that it has waited', () => {
    const old = (spans: number, priority = 10) =>
      classOf(line('a', { priority, since: NOW - spans * SPAN_MS }), NOW, SPAN_MS);
    expect([0, 0.9, 1, 4.5, 9, 100].map((spans) => old(spans))).toEqual([10, 10, 9, 6, 1, 1]);
    expect(classOf(line('a', { priority: 7, since: 0 }), NOW, 0)).toBe(7);
  });

  it('is no old heap of a less urgent class or of its own alone, while somebody else waits', () => {
    const heap = line('heavy', { priority: 8, since: NOW - 4 * SPAN_MS });
    for (const priority of [1, 5, 8]) {
      const fair = createFairLane(SPAN_MS);
      const there = front(4);
      fair.admit([heap], there, NOW, true);
      const { admitted } = fair.admit([heap, line('light', { priority, tasks: 1 })], there, NOW, true);
      expect(admitted.map(({ line }) => line.user)).toEqual(['light']);
      // Where not all are looked at together, the heap may not be among them.
      expect(fair.admit([line('other', { priority })], there, NOW + 1_000, false).admitted).toHaveLength(1);
    }
  });

  it('stands there as one of the class to which it has risen', () => {
    const { admitted } = createFairLane(SPAN_MS).admit(
      [line('a', { priority: 10, since: NOW - 9.5 * SPAN_MS, tasks: 1 }), line('b', { priority: 1, tasks: 1 })],
      front(8),
      NOW,
      true,
    );
    expect(new Set(admitted.map(({ line, from }) => turnFrom(line.priority, from))).size).toBe(1);
  });

  it('waits with second turns until all users were looked at', () => {
    const fair = createFairLane(SPAN_MS);
    const there = front(8);
    const first = fair.admit([line('a'), line('b')], there, NOW, false);
    expect([first.admitted.length, first.more]).toEqual([2, true]);
    const rest = fair.admit([line('c', { tasks: 1 })], there, NOW, true);
    expect(rest.admitted.map(({ line }) => line.user)).toEqual(['c']);
  });

  it('makes up for a cost that was not as expected', () => {
    const fair = createFairLane(SPAN_MS);
    const both = () => fair.admit([line('a'), line('b')], front(2), NOW, true).admitted;
    const [one] = both().filter(({ line }) => line.user === 'a');
    fair.correct(one!, 3);
    // Who has none in front comes above what is enough.
    expect([...both(), ...both()].map(({ line }) => line.user)).toEqual(['b', 'b', 'a', 'b', 'a']);
  });
});

describe('a front', () => {
  const options = { most: 2_000, agingMs: SPAN_MS, choosing: new Set(['llm' as const]) };
  it('holds a second of work, two tasks for each slot at least, and never more than is set', () => {
    const size = (slots: number, mean_ms: number | null) => frontSizes('system', { slots, mean_ms }, options);
    expect(size(16, 20)).toEqual({ enough: 800, size: 800 });
    expect(size(16, 1)).toEqual({ enough: 2_000, size: 2_000 });
    expect(size(2, 60_000)).toEqual({ enough: 4, size: 4 });
    expect(size(16, null)).toEqual({ enough: 32, size: 32 });
    expect(size(0, null)).toEqual({ enough: 100, size: 100 });
    expect(frontSizes('system', { slots: 1, mean_ms: 1 }, { ...options, most: 0 }).enough).toBe(
      Number.POSITIVE_INFINITY,
    );
  });

  it('is longer where workers choose, but only as far as nobody waits in it for long', () => {
    const size = (mean_ms: number) => frontSizes('llm', { slots: 2, mean_ms }, options).size;
    expect([size(1_000), size(10_000), size(600_000)]).toEqual([128, 30, 4]);
  });
});

describe('a simulated lane', () => {
  const light = (count: number, random: () => number): SimTask[] =>
    Array.from({ length: count }, (_, n) => ({ user: `light${n % 5}`, at: random() * 60_000, priority: 5, ms: 50 }));
  const heavy: SimTask[] = Array.from({ length: 5_000 }, () => ({ user: 'heavy', at: 0, priority: 5, ms: 50 }));
  const waits = (runs: ReturnType<typeof simulate>, user: string) =>
    runs.filter((run) => run.user.startsWith(user)).map(({ started, at }) => started - at);

  it('gives the same each time, and runs every task once', () => {
    const tasks = [...heavy.slice(0, 500), ...light(50, randomFrom(1))];
    for (const order of ORDERS) {
      const runs = simulate(tasks, { order, slots: 4, agingMs: SPAN_MS });
      expect(runs).toHaveLength(tasks.length);
      expect(simulate(tasks, { order, slots: 4, agingMs: SPAN_MS })).toEqual(runs);
    }
  });

  // With a short span the heap is older than many of them.
  it.each([SPAN_MS, 2_000])(
    'lets a heap of one user delay the single tasks of others by no more than a round, and takes no longer in all: %i',
    (agingMs) => {
      const tasks = [...heavy, ...light(60, randomFrom(2))];
      const [first, ours] = (['first come', 'ours'] as const).map((order) =>
        simulate(tasks, { order, slots: 4, agingMs }),
      ) as [ReturnType<typeof simulate>, ReturnType<typeof simulate>];
      expect(Math.max(...waits(first, 'light'))).toBeGreaterThan(20_000);
      // A look at the line, the tasks that run, and one of each other user.
      expect(Math.max(...waits(ours, 'light'))).toBeLessThanOrEqual(100 + 50 + 6 * 50);
      const end = (runs: typeof ours) => Math.max(...runs.map(({ started, ms }) => started + ms));
      expect(end(ours)).toBeLessThanOrEqual(end(first) * 1.01);
    },
  );

  it('serves the last class after nine spans and a round, whatever comes', () => {
    const agingMs = 2_000;
    const urgent: SimTask[] = Array.from({ length: 4_000 }, (_, n) => ({
      user: `u${n % 3}`,
      at: n * 10,
      priority: 1,
      ms: 100,
    }));
    const last: SimTask = { user: 'last', at: 500, priority: 10, ms: 100 };
    const wait = (order: (typeof ORDERS)[number]) =>
      waits(simulate([...urgent, last], { order, slots: 4, agingMs }), 'last')[0] as number;
    expect(wait('strict priority')).toBeGreaterThan(60_000);
    expect(wait('ours')).toBeLessThanOrEqual(9 * agingMs + 100 + 2 * 4 * 100);
  });
});

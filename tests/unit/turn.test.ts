import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dueOf, queuedFor, turnOf } from '../../src/queues/turn.ts';

const SPAN_MS = 600_000;
const START = Date.UTC(2026, 10, 25, 12);
const task = (priority: number, waitsSince: number) => ({ priority, ready_at: new Date(waitsSince), queued_at: null });
const comesBack = (priority: number, waitsSince: number, later: number) => ({
  ...{ priority, ready_at: new Date(waitsSince + 1 + later), queued_at: new Date(waitsSince) },
});
const turn = (priority: number, waitsSince: number) => turnOf(task(priority, waitsSince), SPAN_MS);

const priority = fc.integer({ min: 1, max: 10 });
const time = fc.integer({ min: START, max: START + 30 * 86_400_000 });
const classes = fc.tuple(priority, priority).filter(([urgent, patient]) => urgent < patient);

describe('the turn of a task', () => {
  it('lets a more urgent one go first that came less than n − ½ spans later, where it is n classes more urgent', () => {
    fc.assert(
      fc.property(classes, time, fc.double({ min: 0, max: 0.999, noNaN: true }), ([urgent, patient], since, share) => {
        const later = since + Math.floor(share * (patient - urgent - 0.5) * SPAN_MS);
        expect(turn(urgent, later)).toBeLessThan(turn(patient, since));
      }),
    );
  });

  it('lets none go first that came n spans later or more', () => {
    fc.assert(
      fc.property(classes, time, fc.nat(86_400_000), ([urgent, patient], since, more) => {
        const later = since + (patient - urgent) * SPAN_MS + more;
        // Within one turn BullMQ runs first what was added first.
        expect(turn(urgent, later)).toBeGreaterThanOrEqual(turn(patient, since));
      }),
    );
  });

  it('never comes before that of a task of its class that waits longer', () => {
    fc.assert(
      fc.property(priority, time, fc.nat(86_400_000), (of, since, more) => {
        expect(turn(of, since + more)).toBeGreaterThanOrEqual(turn(of, since));
      }),
    );
  });

  it('is the one of those who stand in line since then, where it comes later and is let in among them', () => {
    const ago = fc.oneof(fc.constant(0), fc.integer({ min: SPAN_MS / 2 + 1, max: 10 * SPAN_MS }));
    fc.assert(
      fc.property(priority, time, ago, (of, now, ms) => {
        const queued_at = new Date(queuedFor(now - ms, now, SPAN_MS));
        const there = { priority: of, ready_at: new Date(now), queued_at };
        expect(turnOf(there, SPAN_MS)).toBe(turn(of, now - ms));
      }),
    );
  });

  it('is one that BullMQ takes, whatever the times and the span', () => {
    fc.assert(
      fc.property(
        priority,
        fc.date({ noInvalidDate: true }),
        fc.integer({ min: 0, max: 604_800 }),
        (of, since, seconds) => {
          const own = turnOf(task(of, since.getTime()), seconds * 1000);
          expect(own).toSatisfy(Number.isInteger);
          expect(own).toBeGreaterThanOrEqual(1);
          expect(own).toBeLessThanOrEqual(2_097_151);
        },
      ),
    );
  });

  it('is the priority alone where the span is 0', () => {
    expect([1, 5, 10].map((of) => turnOf(task(of, START), 0))).toEqual([1, 5, 10]);
  });

  it('goes by the time since which it stands in line, where that is not the time it became ready again', () => {
    const told = { ...task(5, 0), queued_at: new Date(START) };
    expect(turnOf(told, SPAN_MS)).toBe(turn(5, START));
  });

  it('is before all that came in the same half span, and after those before that, where it comes back', () => {
    fc.assert(
      fc.property(priority, time, fc.nat(86_400_000), (of, since, later) => {
        const back = turnOf(comesBack(of, since, later), SPAN_MS);
        expect(back).toBeLessThan(turn(of, since));
        expect(back).toBeGreaterThanOrEqual(turn(of, since - SPAN_MS / 2));
      }),
    );
  });

  it('lasts until 2045 with the default, and starts anew then', () => {
    expect(turn(10, Date.UTC(2045, 10, 1))).toBeGreaterThan(turn(10, Date.UTC(2045, 9, 1)));
    expect(turn(1, Date.UTC(2046, 0, 1))).toBeLessThan(turn(1, START));
  });

  it('comes with that of another class where that one stands in line since a certain time', () => {
    fc.assert(
      fc.property(
        fc.tuple(priority, priority),
        time,
        fc.integer({ min: -1_200_000, max: 1_200_000 }),
        fc.boolean(),
        ([own, other], since, off, again) => {
          const one = again ? comesBack(own, since, 60_000) : task(own, since);
          const due = dueOf(one, other, SPAN_MS).getTime();
          const [before, mine] = [turn(other, due + off), turnOf(one, SPAN_MS)];
          // Of the same turn, those of a less urgent class are older, and so were added first.
          if (own !== other) expect(off < 0).toBe(before < mine || (before === mine && other > own));
        },
      ),
    );
  });
});

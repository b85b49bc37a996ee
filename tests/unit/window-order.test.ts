import { describe, expect, it } from 'vitest';
import { type Chosen, createWindowOrder, type InWindow } from '../../src/workers/window-order.ts';

const task = (id: string, model: string | undefined): InWindow => ({ id, model });
const meet = () => true;
const loads = (...loaded: Array<string | undefined>) => ({
  meet,
  room: () => 1,
  outlook: (model: string | undefined) => (loaded.includes(model) ? ('loaded' as const) : ('load' as const)),
});

describe('the order in a window', () => {
  it('prefers a model in memory, the default too, and of the same model the earlier one', () => {
    const order = createWindowOrder(10_000);
    const line = [task('1', 'a'), task('2', 'b'), task('3', 'b'), task('4', undefined)];
    expect(order.choose(line, loads('b'), [], 0)?.id).toBe('2');
    expect(order.choose(line, loads(undefined), [], 1)?.id).toBe('4');
    expect(order.choose(line, loads('c'), [], 2)?.id).toBe('1');
    expect(order.choose([], loads('a'), [], 3)).toBeUndefined();
  });

  it('says whether somebody was passed over, until that one is chosen', () => {
    const order = createWindowOrder(10_000);
    const [one, two] = [task('1', 'a'), task('2', 'b')];
    order.choose([two], loads('b'), [], 0);
    expect(order.passesOver()).toBe(false);
    order.choose([one, two], loads('b'), [], 1);
    expect(order.passesOver()).toBe(true);
    expect(order.choose([one], loads('b'), [], 2)?.id).toBe('1');
    expect(order.passesOver()).toBe(false);
  });

  it('keeps a place for whoever is due and finds no room, from those who might take it', () => {
    const line = [task('1', 'a'), task('2', 'b'), task('3', 'c')];
    const room = (apart = false) => ({
      room: () => 1,
      meet: (one: string | undefined, other: string | undefined) =>
        one === other || !apart || (one !== 'a' && other !== 'a'),
      outlook: (model: string | undefined) =>
        model === 'a' ? ('full' as const) : model === 'c' ? ('loaded' as const) : ('load' as const),
    });
    const order = createWindowOrder(10_000);
    expect(order.choose(line, { meet, room: () => 0, outlook: () => 'full' }, [], 0)).toBeUndefined();
    expect(order.choose(line, room(), [], 1_000)?.id).toBe('3');
    expect(order.choose(line, room(), [], 5_999)?.id).toBe('3');
    expect(order.choose(line, room(), [], 6_000)).toBeUndefined();
    // The others are at another host: they take nothing from it, and it is not passed over.
    expect(order.choose(line, room(true), [], 6_001)?.id).toBe('3');
    // It waits for a call of its own model, whose room none of the others takes. The next one is the first then.
    const own = [{ model: 'a', at: 0, begun: true }];
    expect(order.choose(line, room(), own, 6_002)?.id).toBe('3');
    expect(order.choose(line, room(), own, 11_001)?.id).toBe('2');
  });

  it('counts on what was chosen and has not come to its host', () => {
    const order = createWindowOrder<InWindow>(10_000);
    const line = [task('1', 'a'), task('2', 'b')];
    const chosen = (model: string, begun = false) => [{ model, at: 0, begun }];
    expect(order.choose(line, loads('b'), chosen('c'), 1)).toBeUndefined();
    expect(order.choose(line, loads('b'), chosen('c', true), 1)?.id).toBe('2');
    expect(order.choose(line, loads('b'), chosen('a'), 1)).toBeUndefined();
    expect(order.choose(line, { ...loads('b'), meet: (one, other) => one === other }, chosen('a'), 1)?.id).toBe('2');
    // One that takes its time before it calls holds up those of other models only.
    expect(order.choose(line, loads('b'), chosen('b'), 499)).toBeUndefined();
    expect(order.choose(line, loads('b'), chosen('b'), 500)?.id).toBe('2');
    expect(order.choose(line, loads('b'), chosen('a'), 500)?.id).toBe('1');
    // Where its host has room for several calls, only so many wait to come to it.
    const roomy = { ...loads('b'), room: () => 3 };
    expect(order.choose(line, roomy, [...chosen('b'), ...chosen('b')], 1)?.id).toBe('2');
    expect(order.choose(line, roomy, [...chosen('b'), ...chosen('b'), ...chosen('b')], 1)).toBeUndefined();
    expect(order.choose(line, roomy, [...chosen('b'), ...chosen('c')], 1)).toBeUndefined();
    // One that may never call at all holds up nobody for long.
    expect(order.choose(line, loads('b'), chosen('c'), 4_999)).toBeUndefined();
    expect(order.choose(line, loads('b'), chosen('c'), 5_000)?.id).toBe('2');
  });

  it('passes nobody over for longer than the bound and what is under way, however late others come to their host', () => {
    const order = createWindowOrder<InWindow>(10_000);
    const chosen: Array<Chosen & { id: string }> = [];
    let made = 0;
    for (let now = 0; now < 30_000; now += 100) {
      // Each takes 1.2 s before it calls, so there is always one that has not.
      for (const one of chosen) if (now - one.at >= 1_200) one.begun = true;
      const line = [task('late', 'a'), ...Array.from({ length: 5 }, (_, n) => task(`b${made + n}`, 'b'))];
      const next = order.choose(line, loads('b'), chosen, now);
      if (next?.id === 'late') {
        expect(now).toBeLessThanOrEqual(11_300);
        return;
      }
      if (next) {
        made++;
        chosen.push({ id: next.id, model: next.model, at: now, begun: false });
      }
    }
    expect.unreachable('it never started');
  });

  it('lets the first in line wait for its share of the bound and no longer', () => {
    const order = createWindowOrder(10_000);
    const two = [task('1', 'a'), task('2', 'b')];
    expect(order.choose(two, loads('b'), [], 0)?.id).toBe('2');
    expect(order.choose(two, loads('b'), [], 9_999)?.id).toBe('2');
    expect(order.choose(two, loads('b'), [], 10_000)?.id).toBe('1');

    // Two models wait besides the one that has its time.
    const three = [task('4', 'a'), task('5', 'c'), task('6', 'b')];
    expect(order.choose(three, loads('b'), [], 20_000)?.id).toBe('6');
    expect(order.choose(three, loads('b'), [], 24_999)?.id).toBe('6');
    expect(order.choose(three, loads('b'), [], 25_000)?.id).toBe('4');
    // The next one has its share from the time on when it is the first, although it was passed over before.
    expect(order.choose(three.slice(1), loads('b'), [], 25_001)?.id).toBe('6');
  });

  it('starts a more urgent task that came later first, where its model is there', () => {
    const order = createWindowOrder(10_000);
    const line = [task('1', 'a'), task('2', 'b')];
    expect(order.choose(line, loads('b'), [], 0)?.id).toBe('2');
    expect(order.choose([task('0', 'b'), ...line], loads('b'), [], 1)?.id).toBe('0');
    // Another one that is more urgent has a time of its own, and the earlier one keeps the sum of its own.
    const urgent = [task('u', 'c'), ...line];
    for (const now of [2, 4_000]) expect(order.choose(urgent, loads('b'), [], now)?.id).toBe('2');
    expect(order.choose(urgent, loads('b'), [], 5_002)?.id).toBe('u');
    expect(order.choose(line, loads('b'), [], 5_003)?.id).toBe('2');
    expect(order.choose(line, loads('b'), [], 10_001)?.id).toBe('1');
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'passes nobody over for longer than the bound and one run, whatever comes (%i)',
    (seed) => {
      const random = randomOf(seed);
      const [bound, load, models] = [10_000, 1_500, 2 + (seed % 4)];
      const order = createWindowOrder<InWindow>(bound);
      const passedFor = new Map<string, number>();
      let [now, loaded, made, loadsDone, most, longest] = [0, 'm0', 0, 0, 0, 0];
      const waiting: Array<InWindow & { turn: number }> = [];
      for (let step = 0; step < 2_000; step++) {
        for (let come = random() < 0.6 ? 2 : 0; come > 0; come--) {
          made++;
          const model = `m${Math.floor(random() * models)}`;
          // Some are more urgent than what waits.
          waiting.push({ ...task(`${made}`, model), turn: made - (random() < 0.1 ? 20 : 0) });
        }
        waiting.sort((a, b) => a.turn - b.turn);
        const line = waiting.slice(0, 32);
        const next = order.choose(line, loads(loaded), [], now);
        if (!next) {
          now += 500;
          continue;
        }
        const run = 50 + random() * 500 + (next.model === loaded ? 0 : load);
        if (next.model !== loaded) loadsDone++;
        longest = Math.max(longest, run);
        for (const one of line.slice(0, line.indexOf(next as (typeof line)[number]))) {
          passedFor.set(one.id, (passedFor.get(one.id) ?? 0) + run);
          most = Math.max(most, passedFor.get(one.id) ?? 0);
        }
        loaded = next.model ?? '';
        now += run;
        waiting.splice(waiting.indexOf(next as (typeof line)[number]), 1);
      }
      expect(most).toBeGreaterThan(0);
      expect(most).toBeLessThanOrEqual(bound + longest);
      // In the order of arrival nearly every task of so many models would need a load.
      expect(loadsDone).toBeLessThan((made - waiting.length) / 4);
    },
  );
});

/** A sequence that looks random and is the same each time (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

import { afterEach, describe, expect, it } from 'vitest';
import { type AddRequests, createRates, type Rates, rateHeaders } from '../../src/api/limits/rates.ts';
import { until } from '../support/until.ts';

/** A minute that does not end while a test runs. */
const noon = () => 1_000 * 60_000 + 15_000;

const opened: Rates[] = [];
afterEach(async () => void (await Promise.all(opened.splice(0).map((rates) => rates.close()))));

/** A store that several processes count in. */
function sharedStore() {
  let sums = new Map<string, number>();
  const calls: Array<{ minute: number; added: Array<[string, number]> }> = [];
  const errors: unknown[] = [];
  const store = {
    calls,
    errors,
    away: false,
    empty: () => {
      sums = new Map();
    },
    process(now = noon) {
      const add: AddRequests = async (minute, added) => {
        if (store.away) throw new Error('away');
        calls.push({ minute, added: [...added] });
        for (const [subject, count] of added) sums.set(subject, (sums.get(subject) ?? 0) + count);
        return new Map([...added.keys()].map((subject) => [subject, sums.get(subject) ?? 0]));
      };
      const rates = createRates('requests_per_minute', add, (error) => errors.push(error), now);
      opened.push(rates);
      return rates;
    },
    told: () => until('everything is told', () => calls.length > 0),
  };
  return store;
}

const takeAll = (rates: Rates, subject: string, limit: number, tries: number) =>
  Array.from({ length: tries }, () => rates.take(subject, limit)).filter(({ allowed }) => allowed).length;

describe('the rate of requests', () => {
  it('is limited for each subject by itself, and says how much is left and for how long', () => {
    const rates = sharedStore().process();
    expect(rates.take('ada', 3)).toEqual({
      policy: 'requests_per_minute',
      allowed: true,
      limit: 3,
      remaining: 2,
      reset: 45,
    });
    expect(rates.take('ada', 3)).toMatchObject({ allowed: true, remaining: 1 });
    expect(rates.take('ada', 3)).toMatchObject({ allowed: true, remaining: 0 });
    expect(rates.take('ada', 3)).toMatchObject({ allowed: false, remaining: 0, reset: 45 });
    expect(rates.take('bob', 3)).toMatchObject({ allowed: true, remaining: 2 });
  });

  it('starts anew with the next minute', () => {
    let time = noon();
    const rates = sharedStore().process(() => time);
    expect(takeAll(rates, 'ada', 5, 9)).toBe(5);
    time += 44_999;
    expect(rates.take('ada', 5)).toMatchObject({ allowed: false, reset: 1 });
    time += 1;
    expect(rates.take('ada', 5)).toMatchObject({ allowed: true, remaining: 4, reset: 60 });
  });

  it('is one for all processes, as soon as they have told each other', async () => {
    const store = sharedStore();
    const [one, two] = [store.process(), store.process()];
    expect(takeAll(one, 'ada', 100, 70)).toBe(70);
    await store.told();
    const ofBoth = () => store.calls.flatMap(({ added }) => added).reduce((sum, [, count]) => sum + count, 0);
    expect(takeAll(two, 'ada', 100, 3)).toBe(3);
    await until('the second one has told', () => ofBoth() === 73);
    expect(takeAll(two, 'ada', 100, 100)).toBe(27);
    await until('the second one has told all', () => ofBoth() === 100);
    expect(takeAll(one, 'ada', 100, 3)).toBe(3);
    await until('the first one has told', () => ofBoth() === 103);
    expect(takeAll(one, 'ada', 100, 100)).toBe(0);
    expect(takeAll(two, 'ada', 100, 100)).toBe(0);
  });

  it('costs no call for those who ask little, and one for many who ask much', async () => {
    const store = sharedStore();
    const rates = store.process();
    for (let user = 0; user < 50; user++) {
      takeAll(rates, `quiet ${user}`, 1200, 29);
      takeAll(rates, `busy ${user}`, 1200, 31);
    }
    await store.told();
    expect(store.calls).toHaveLength(1);
    expect(store.calls[0]?.added.map(([subject]) => subject).sort()).toEqual(
      Array.from({ length: 50 }, (_, user) => `busy ${user}`).sort(),
    );
  });

  it('S33: is limited by each process alone while the store is away, and told when it is back', async () => {
    const store = sharedStore();
    store.away = true;
    const rates = store.process();
    expect(takeAll(rates, 'ada', 10, 6)).toBe(6);
    await until('the store was tried', () => store.errors.length > 0);
    expect(takeAll(rates, 'ada', 10, 20)).toBe(4);
    store.away = false;
    await store.told();
    expect(store.calls[0]?.added).toEqual([['ada', 10]]);
    expect(takeAll(rates, 'ada', 10, 5)).toBe(0);
  });

  it('is not forgotten with a store that was emptied', async () => {
    const store = sharedStore();
    const rates = store.process();
    takeAll(rates, 'ada', 40, 39);
    await store.told();
    store.empty();
    expect(takeAll(rates, 'ada', 40, 1)).toBe(1);
    await until('it was told again', () => store.calls.length > 1);
    expect(takeAll(rates, 'ada', 40, 5)).toBe(0);
  });

  it('is told of in structured fields', () => {
    expect(rateHeaders({ policy: 'requests_per_minute', allowed: true, limit: 1200, remaining: 7, reset: 42 })).toEqual(
      [
        ['RateLimit-Policy', '"requests_per_minute";q=1200;w=60'],
        ['RateLimit', '"requests_per_minute";r=7;t=42'],
      ],
    );
  });
});

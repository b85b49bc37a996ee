import { describe, expect, it } from 'vitest';
import { cronProblem, dueTicks, nextTick, type Timing, ticksFrom, zoneProblem } from '../../src/schedules/clock.ts';

const at = (text: string) => new Date(text);
const cron = (pattern: string, timezone = 'UTC'): Timing => ({
  ...{ cron: pattern, every_seconds: null, timezone },
  starts_at: at('2026-01-01T00:00:00Z'),
});
const every = (seconds: number, starts = '2026-01-01T00:00:00Z'): Timing => ({
  ...{ cron: null, every_seconds: seconds, timezone: 'UTC' },
  starts_at: at(starts),
});
const following = (timing: Timing, after: string, count: number) =>
  ticksFrom(timing, nextTick(timing, at(after)) as Date, count).map((tick) => tick.toISOString().replace('.000Z', 'Z'));

describe('when a cron schedule ticks', () => {
  it('takes five fields, and six with seconds', () => {
    expect(following(cron('30 2 * * 1-5'), '2026-01-02T03:00:00Z', 2)).toEqual([
      '2026-01-05T02:30:00Z',
      '2026-01-06T02:30:00Z',
    ]);
    expect(following(cron('*/20 * * * * *'), '2026-01-01T00:00:00Z', 3)).toEqual([
      '2026-01-01T00:00:20Z',
      '2026-01-01T00:00:40Z',
      '2026-01-01T00:01:00Z',
    ]);
  });

  it('never answers the time that it was asked about', () => {
    expect(following(cron('0 * * * *'), '2026-01-01T01:00:00Z', 1)).toEqual(['2026-01-01T02:00:00Z']);
    expect(following(cron('0 * * * *'), '2026-01-01T00:59:59.999Z', 1)).toEqual(['2026-01-01T01:00:00Z']);
  });

  it.each([
    // 02:30 does not exist on 29 March 2026 in Berlin, nor on 8 March in New York.
    ['Europe/Berlin', '30 2 * * *', '2026-03-28T00:00:00Z', ['03-28T01:30', '03-29T01:00', '03-30T00:30']],
    ['America/New_York', '30 2 * * *', '2026-03-07T00:00:00Z', ['03-07T07:30', '03-08T07:00', '03-09T06:30']],
  ])('in %s ticks at the moment of the change for a time that the day does not have', (zone, pattern, after, ticks) => {
    expect(following(cron(pattern, zone), after, 3)).toEqual(ticks.map((tick) => `2026-${tick}:00Z`));
  });

  it.each([
    // 02:30 comes twice on 25 October 2026 in Berlin, 01:30 twice on 1 November in New York.
    ['Europe/Berlin', '30 2 * * *', '2026-10-24T00:00:00Z', ['10-24T00:30', '10-25T00:30', '10-26T01:30']],
    ['America/New_York', '30 1 * * *', '2026-10-31T00:00:00Z', ['10-31T05:30', '11-01T05:30', '11-02T06:30']],
  ])('in %s ticks once, the first time, for a time that comes twice', (zone, pattern, after, ticks) => {
    expect(following(cron(pattern, zone), after, 3)).toEqual(ticks.map((tick) => `2026-${tick}:00Z`));
  });

  it.each([
    ['Europe/Berlin', '30 2,14 * * *', '2027-03-27T22:30:00Z', ['03-28T01:00', '03-28T12:30', '03-29T00:30']],
    ['Europe/Berlin', '30 1,2 * * *', '2027-03-27T22:30:00Z', ['03-28T00:30', '03-28T01:00', '03-28T23:30']],
    ['Europe/Berlin', '0,30 2 * * *', '2027-03-27T22:30:00Z', ['03-28T01:00', '03-29T00:00', '03-29T00:30']],
    ['Europe/Berlin', '15-20 2 * * *', '2027-03-27T22:30:00Z', ['03-28T01:00', '03-29T00:15', '03-29T00:16']],
    ['Europe/Berlin', '*/15 2 * * *', '2027-03-27T22:30:00Z', ['03-28T01:00', '03-29T00:00', '03-29T00:15']],
    ['Europe/Berlin', '5-59/25 2 * * *', '2027-03-27T22:30:00Z', ['03-28T01:00', '03-29T00:05', '03-29T00:30']],
    ['Europe/Berlin', '*/30 0 2 28 3 *', '2027-03-27T22:30:00Z', ['03-28T01:00']],
    ['Europe/Berlin', '0 1-3 * * *', '2027-03-27T22:30:00Z', ['03-28T00:00', '03-28T01:00', '03-28T23:00']],
    ['America/New_York', '30 2,14 * * *', '2027-03-14T00:00:00Z', ['03-14T07:00', '03-14T18:30', '03-15T06:30']],
    ['America/Sao_Paulo', '0 0,12 * * *', '2018-11-03T16:00:00Z', ['11-04T03:00', '11-04T14:00', '11-05T02:00']],
    // And once where they come twice.
    ['Europe/Berlin', '0,30 2 * * *', '2027-10-30T22:30:00Z', ['10-31T00:00', '10-31T00:30', '11-01T01:00']],
    ['Europe/Berlin', '*/30 2 * * *', '2027-10-30T22:30:00Z', ['10-31T00:00', '10-31T00:30', '11-01T01:00']],
  ])('in %s does so too by %s, which names hours', (zone, pattern, after, ticks) => {
    const year = after.slice(0, 4);
    expect(following(cron(pattern, zone), after, ticks.length)).toEqual(ticks.map((tick) => `${year}-${tick}:00Z`));
  });

  it('ticks every half hour through both changes, in hours that really pass', () => {
    for (const after of ['2026-03-28T23:00:00Z', '2026-10-24T22:00:00Z']) {
      const ticks = following(cron('*/30 * * * *', 'Europe/Berlin'), after, 10);
      ticks.forEach((tick, n) => {
        expect(Date.parse(tick) - Date.parse(after)).toBe((n + 1) * 1_800_000);
      });
    }
  });

  it('follows the local day, where the zone is far from UTC', () => {
    expect(following(cron('0 0 1 * *', 'Pacific/Auckland'), '2026-06-15T00:00:00Z', 1)).toEqual([
      '2026-06-30T12:00:00Z',
    ]);
  });
});

describe('when an interval ticks', () => {
  it('stays on its grid, wherever it is asked from', () => {
    expect(following(every(90), '2026-01-01T00:00:00Z', 2)).toEqual(['2026-01-01T00:01:30Z', '2026-01-01T00:03:00Z']);
    expect(following(every(90), '2026-01-01T00:02:17.123Z', 1)).toEqual(['2026-01-01T00:03:00Z']);
    expect(following(every(90), '2026-01-01T00:03:00Z', 1)).toEqual(['2026-01-01T00:04:30Z']);
    expect(following(every(90), '2025-01-01T00:00:00Z', 1)).toEqual(['2026-01-01T00:01:30Z']);
  });
});

describe('what is due after a while', () => {
  const due = (timing: Timing, first: string, now: string) => {
    const { last, count } = dueTicks(timing, at(first), at(now));
    return [last.toISOString(), count];
  };

  it('is the tick itself where it is looked at in time', () => {
    expect(due(cron('0 * * * *'), '2026-01-01T01:00:00Z', '2026-01-01T01:00:00.2Z')).toEqual([
      '2026-01-01T01:00:00.000Z',
      1,
    ]);
    expect(due(every(60), '2026-01-01T01:00:00Z', '2026-01-01T01:00:59.9Z')).toEqual(['2026-01-01T01:00:00.000Z', 1]);
  });

  it('is the last of those that were missed, and how many there are', () => {
    expect(due(cron('0 * * * *'), '2026-01-01T01:00:00Z', '2026-01-01T06:30:00Z')).toEqual([
      '2026-01-01T06:00:00.000Z',
      6,
    ]);
    expect(due(every(60), '2026-01-01T01:00:00Z', '2026-01-01T01:10:30Z')).toEqual(['2026-01-01T01:10:00.000Z', 11]);
    expect(due(every(1), '2026-01-01T00:00:01Z', '2026-12-31T23:59:59Z')).toEqual([
      '2026-12-31T23:59:59.000Z',
      31_535_999,
    ]);
  });

  it('counts no more than 1,000 of a cron expression, and finds the last of a whole year all the same, quickly', () => {
    const began = performance.now();
    expect(due(cron('* * * * * *'), '2026-01-01T00:00:00Z', '2026-12-31T23:59:59.5Z')).toEqual([
      '2026-12-31T23:59:59.000Z',
      1_000,
    ]);
    expect(performance.now() - began).toBeLessThan(2_000);
  });
});

describe('what is wrong with', () => {
  it.each([
    ['* * * *', /5 fields.*has 4/],
    ['', /has 0/],
    ['@daily', /5 fields/],
    ['0 0 0 1 1 * 2030', /has 7/],
    ['60 * * * *', /minute: 60.*30 2 \* \* 1-5/],
    ['x * * * *', /not a cron expression/],
    ['0 0 31 2 *', /never comes/],
    ['0 0 32 * *', /day: 32/],
    ['0 0 0 * *', /day: 0/],
    ['0 0 32W * *', /day: 32/],
    ['0 0 1 13 *', /month: 13/],
    ['*/0 2 * * *', /stepping: 0/],
    ['*/61 2 * * *', /steps.*60/],
    ['5-3/2 2 * * *', /larger.*5-3\/2/],
  ])('the cron expression %j', (pattern, says) => {
    expect(cronProblem(pattern, at('2026-01-01T00:00:00Z'))).toMatch(says);
  });

  it.each(['*/5 * * * *', '0 9-17 * * mon-fri', '  0 0 1 1 *  ', '0 0 29 2 *', '15 30 2 * * *'])(
    'the cron expression %j: nothing',
    (pattern) => {
      expect(cronProblem(pattern, at('2026-01-01T00:00:00Z'))).toBeUndefined();
    },
  );

  it.each(['Mars/Olympus', '', '+02:00', 'Berlin', '../etc/passwd'])('the zone %j', (zone) => {
    expect(zoneProblem(zone)).toMatch(/IANA.*Europe\/Berlin/);
  });

  it.each(['UTC', 'Europe/Berlin', 'America/Argentina/Buenos_Aires', 'US/Eastern'])('the zone %j: nothing', (zone) => {
    expect(zoneProblem(zone)).toBeUndefined();
  });
});

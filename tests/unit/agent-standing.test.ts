import { expect, test } from 'vitest';
import { circuitOf, percentile, type Standing, standingAfter, stateOf } from '../../src/agents/health.ts';

const NEW: Standing = { probe_failures: 0, call_failures: 0, openings: 0, opened_until: null };
const START = new Date('2030-01-01T00:00:00Z');
const at = (seconds: number) => new Date(START.getTime() + seconds * 1000);
const failed = (source: 'probe' | 'call') => ({ source, failure: 'away' });
const options = { intervalMs: 30_000, random: () => 1 };

type Heard = readonly [seconds: number, outcome: 'probe' | 'call' | '-probe' | '-call'];

/** What comes of outcomes, each so many seconds after the start. */
function after(events: Heard[], from = NEW): Standing {
  return events.reduce((standing, [seconds, said]) => {
    const source = said.replace('-', '') as 'probe' | 'call';
    return standingAfter(standing, said.startsWith('-') ? failed(source) : { source }, at(seconds), options);
  }, from);
}
const circuit = (standing: Standing, seconds: number) => circuitOf(standing, at(seconds));

test('five calls that fail one after the other open the circuit, four do not, and a success between begins anew', () => {
  const four = after([1, 2, 3, 4].map((second) => [second, '-call']));
  expect(circuit(four, 4)).toBe('closed');
  const broken = after([[5, '-call']], four);
  expect([circuit(broken, 5), broken.openings]).toEqual(['open', 1]);
  const between = after(
    [
      [5, 'call'],
      [6, '-call'],
    ],
    four,
  );
  expect([circuit(between, 6), between.call_failures]).toEqual(['closed', 1]);
});

test('a probe that succeeds does not make up for calls that fail', () => {
  const mixed = [1, 2, 3, 4].flatMap((second) => (['-call', 'probe'] as const).map((one) => [second, one] as const));
  const standing = after(mixed);
  expect(circuit(after([[5, '-call']], standing), 5)).toBe('open');
});

test('two probes that fail open it', () => {
  const standing = after([[1, '-probe']]);
  expect(circuit(standing, 1)).toBe('closed');
  expect(circuit(after([[2, '-probe']], standing), 2)).toBe('open');
});

test('it is half open once its time is over; a failure then opens it for twice as long, up to an interval', () => {
  let standing = after([1, 2].map((second) => [second, '-probe']));
  let opened = at(2);
  const lasted: number[] = [];
  for (let i = 0; i < 8; i++) {
    const until = standing.opened_until as Date;
    lasted.push((until.getTime() - opened.getTime()) / 1000);
    expect(circuitOf(standing, new Date(until.getTime() - 1))).toBe('open');
    expect(circuitOf(standing, until)).toBe('half_open');
    opened = until;
    standing = standingAfter(standing, failed('probe'), until, options);
  }
  expect(lasted).toEqual([1, 2, 4, 8, 16, 30, 30, 30]);
});

test('what fails while it is open says nothing, because it began before', () => {
  const open = after([1, 2, 3, 4, 5].map((second) => [second, '-call']));
  expect(
    after(
      [
        [5.5, '-call'],
        [5.6, '-probe'],
      ],
      open,
    ),
  ).toEqual(open);
});

test('a probe closes it on trial: one failure opens it for longer, until a call succeeds', () => {
  const open = after([1, 2, 3, 4, 5].map((second) => [second, '-call']));
  const trial = after([[6, 'probe']], open);
  expect([circuit(trial, 6), trial.openings]).toEqual(['closed', 1]);
  const again = after([[7, '-call']], trial);
  expect([circuit(again, 7), again.openings]).toEqual(['open', 2]);
  expect(again.opened_until).toEqual(at(9));
  expect(after([[8, 'call']], trial)).toEqual(NEW);
  expect(after([[7.5, 'call']], again)).toEqual(NEW);
});

const heard = (pattern: string, ageMinutes = 0) =>
  [...pattern].map((one) => ({ ok: one === '+', at: at(-60 * ageMinutes) }));

test.each([
  ['nothing was heard', NEW, '', 'unknown'],
  ['all went well', NEW, '++++', 'healthy'],
  ['the last probe failed', { ...NEW, probe_failures: 1 }, '-+++', 'down'],
  ['the circuit is open', { ...NEW, opened_until: at(5) }, '++++', 'down'],
  ['the circuit is half open', { ...NEW, opened_until: at(-5) }, '++++', 'down'],
  ['a fifth failed', NEW, '++++-', 'degraded'],
  ['a tenth failed', NEW, '+++++++++-', 'healthy'],
  ['only what was long ago failed', NEW, `${'+'.repeat(20)}------`, 'healthy'],
] as const)('%s: %#', (_, standing, pattern, state) => {
  expect(stateOf({ ...standing, note: null }, heard(pattern), START)).toBe(state);
});

test('failures of ten minutes ago count no more, and what a probe noted makes it degraded', () => {
  expect(stateOf({ ...NEW, note: null }, [...heard('+'), ...heard('---', 11)], START)).toBe('healthy');
  expect(stateOf({ ...NEW, note: 'slow' }, heard('+'), START)).toBe('degraded');
});

test('percentiles are values that were there', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect([percentile(hundred, 0.5), percentile(hundred, 0.95)]).toEqual([50, 95]);
  expect([percentile([7], 0.5), percentile([7], 0.95), percentile([], 0.5)]).toEqual([7, 7, null]);
});

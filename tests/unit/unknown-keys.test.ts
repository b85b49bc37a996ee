import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createUnknownKeys } from '../../src/api/auth/unknown-keys.ts';

beforeEach(() => void vi.useFakeTimers({ now: 1_800_000_000_000 }));
afterEach(() => void vi.useRealTimers());

it('a key that was not good is remembered for ten seconds, by itself alone', () => {
  const unknown = createUnknownKeys(0);
  expect(unknown.has('a', '1')).toBe(false);
  unknown.add('a', '1');
  expect([unknown.has('a', '2'), unknown.has('b', '1')]).toEqual([true, false]);
  vi.advanceTimersByTime(10_001);
  expect(unknown.has('a', '1')).toBe(false);
});

it('an address that brought too many is refused further ones until the minute is over, others are not', () => {
  const unknown = createUnknownKeys(3);
  for (const key of ['a', 'b', 'c']) {
    expect(unknown.has(key, '1')).toBe(false);
    unknown.add(key, '1');
  }
  expect(() => unknown.has('d', '1')).toThrow(/3 API keys in a minute/);
  expect(unknown.has('a', '1'), 'what is known costs nothing').toBe(true);
  expect(unknown.has('d', '2')).toBe(false);
  vi.advanceTimersByTime(60_000);
  expect(unknown.has('d', '1')).toBe(false);
});

it('of very many keys the oldest is forgotten', () => {
  const unknown = createUnknownKeys(0);
  for (let n = 0; n <= 10_000; n++) unknown.add(`${n}`, '1');
  expect([unknown.has('0', '1'), unknown.has('1', '1'), unknown.has('10000', '1')]).toEqual([false, true, true]);
});

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { rememberSlow } from '../../src/queues/slow-counts.ts';

describe('counts', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** Counts how often it was asked; each answer takes so long. */
  function counter(tookMs: () => number) {
    let asked = 0;
    const counts = rememberSlow(async (...types: string[]) => {
      const own = ++asked;
      await new Promise((resolve) => setTimeout(resolve, tookMs()));
      return `${types.join()} ${own}`;
    });
    /** Asks, and lets the time pass that the answer takes, if it has to be waited for. */
    return async (...types: string[]) => {
      const answer = counts(...types);
      await vi.advanceTimersByTimeAsync(tookMs());
      return answer;
    };
  }

  it('that are quick are asked every time', async () => {
    const ask = counter(() => 20);
    expect([await ask('waiting'), await ask('waiting')]).toEqual(['waiting 1', 'waiting 2']);
  });

  it('that took long are remembered for twenty times as long, each kind for itself', async () => {
    const ask = counter(() => 500);
    expect(await ask('waiting')).toBe('waiting 1');
    expect(await ask('delayed')).toBe('delayed 2');
    await vi.advanceTimersByTimeAsync(8_000);
    expect(await ask('waiting')).toBe('waiting 1');
    await vi.advanceTimersByTimeAsync(1_500);
    expect(await ask('waiting')).toBe('waiting 3');
  });

  it('that are on the way are given to everybody who asks meanwhile', async () => {
    let answer = (_: number) => {};
    const ask = vi.fn(() => new Promise<number>((resolve) => (answer = resolve)));
    const counts = rememberSlow(ask);
    const both = Promise.all([counts(), counts()]);
    answer(7);
    expect(await both).toEqual([7, 7]);
    expect(ask).toHaveBeenCalledTimes(1);
  });

  it('that could not be had are asked again', async () => {
    const ask = vi.fn<() => Promise<number>>().mockRejectedValueOnce(new Error('away')).mockResolvedValue(3);
    const counts = rememberSlow(ask);
    await expect(counts()).rejects.toThrow('away');
    expect(await counts()).toBe(3);
  });
});

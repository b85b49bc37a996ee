import { describe, expect, it } from 'vitest';
import { createBatch, Overloaded } from '../../src/db/batch.ts';

/** Work whose calls wait until they are let go. */
function gatedWork() {
  const calls: Array<{ items: number[]; go: (error?: unknown) => void }> = [];
  const waiters: Array<() => void> = [];
  const run = (items: number[]) =>
    new Promise<string[]>((resolve, reject) => {
      calls.push({ items, go: (error) => (error ? reject(error) : resolve(items.map((item) => `r${item}`))) });
      for (const wake of waiters.splice(0)) wake();
    });
  return {
    calls,
    run,
    async called(times: number) {
      while (calls.length < times) await new Promise<void>((resolve) => waiters.push(resolve));
    },
  };
}

const sqlError = (code: string) => Object.assign(new Error(code), { code });

describe('a batch', () => {
  it('takes those who come while one is under way together in the next, in order', async () => {
    const work = gatedWork();
    const call = createBatch({ run: work.run, max: 10 });
    const first = [call(1), call(2)];
    await work.called(1);
    const later = [call(3), call(4), call(5)];
    work.calls[0]?.go();
    await work.called(2);
    work.calls[1]?.go();
    expect(await Promise.all([...first, ...later])).toEqual(['r1', 'r2', 'r3', 'r4', 'r5']);
    expect(work.calls.map(({ items }) => items)).toEqual([
      [1, 2],
      [3, 4, 5],
    ]);
  });

  it('begins the next one at a distance, with all that came by then', async () => {
    const begun: Array<{ items: number[]; at: number }> = [];
    const call = createBatch({
      run: async (items: number[]) => {
        begun.push({ items, at: performance.now() });
        return items;
      },
      max: 3,
      apartMs: 200,
    });
    const from = performance.now();
    await call(1);
    const second = call(2);
    await new Promise(setImmediate);
    await Promise.all([second, call(3)]);
    expect(begun.map(({ items }) => items)).toEqual([[1], [2, 3]]);
    expect((begun[1]?.at ?? 0) - from).toBeGreaterThanOrEqual(199);
  });

  it('has nothing to do with an empty one, where several may be under way', async () => {
    const sizes: number[] = [];
    const run = async (items: number[]) => {
      sizes.push(items.length);
      return items;
    };
    const call = createBatch({ run, max: 3, parallel: 2, apartMs: 50 });
    await Promise.all([call(1), call(2)]);
    const next = call(3);
    await new Promise(setImmediate);
    await Promise.all([next, call(4)]);
    expect(sizes.every((size) => size > 0)).toBe(true);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(4);
  });

  it('has neither the first nor a full one wait for that', async () => {
    const call = createBatch({ run: async (items: number[]) => items, max: 3, apartMs: 3_600_000 });
    expect(await call(1)).toBe(1);
    expect(await Promise.all([call(2), call(3), call(4)])).toEqual([2, 3, 4]);
  });

  it('waits for the one before, but not for one that is held up', async () => {
    const work = gatedWork();
    const call = createBatch({ run: work.run, max: 10, parallel: 2, apartMs: 1 });
    const held = call(1);
    await work.called(1);
    const early = call(2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    work.calls[0]?.go();
    await work.called(2);
    work.calls[1]?.go();
    expect(await Promise.all([held, early])).toEqual(['r1', 'r2']);

    const stuck = call(3);
    await work.called(3);
    const others = [call(4), call(5)];
    await work.called(4);
    work.calls[3]?.go();
    expect(await Promise.all(others)).toEqual(['r4', 'r5']);
    // One that comes after that does not wait for it at all.
    const later = call(6);
    await work.called(5);
    for (const index of [4, 2]) work.calls[index]?.go();
    expect(await Promise.all([later, stuck])).toEqual(['r6', 'r3']);
    expect(work.calls.map(({ items }) => items)).toEqual([[1], [2], [3], [4, 5], [6]]);
  });

  it('does nothing where all that waited for the distance have waited too long', async () => {
    const begun: number[][] = [];
    const call = createBatch({
      run: async (items: number[]) => {
        begun.push(items);
        if (begun.length === 1) await expect(call(2)).rejects.toThrow(Overloaded);
        return items;
      },
      max: 3,
      parallel: 2,
      apartMs: 100,
      limit: { items: 5, ms: 20 },
    });
    expect(await call(1)).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(begun).toEqual([[1]]);
  });

  it('takes no more than max at a time', async () => {
    const sizes: number[] = [];
    const call = createBatch({
      run: async (items: number[]) => {
        sizes.push(items.length);
        return items;
      },
      max: 4,
    });
    expect(await Promise.all([1, 2, 3, 4, 5, 6, 7, 8, 9].map(call))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(sizes).toEqual([4, 4, 1]);
  });

  it('has at most as many under way as it was told', async () => {
    const work = gatedWork();
    const call = createBatch({ run: work.run, max: 1, parallel: 2 });
    const all = Promise.all([1, 2, 3].map(call));
    await work.called(2);
    await new Promise(setImmediate);
    expect(work.calls).toHaveLength(2);
    work.calls[0]?.go();
    await work.called(3);
    work.calls[1]?.go();
    work.calls[2]?.go();
    expect(await all).toEqual(['r1', 'r2', 'r3']);
  });

  it('gives a data error to the one item that caused it, and the others their results', async () => {
    const call = createBatch({
      run: async (items: number[]) => {
        if (items.includes(2)) throw sqlError('22P05');
        return items.map((item) => item * 10);
      },
      max: 10,
    });
    const results = await Promise.allSettled([1, 2, 3].map(call));
    expect(results).toEqual([
      { status: 'fulfilled', value: 10 },
      { status: 'rejected', reason: sqlError('22P05') },
      { status: 'fulfilled', value: 30 },
    ]);
  });

  it('gives a broken connection to all, without trying each alone', async () => {
    let calls = 0;
    const call = createBatch({
      run: async (): Promise<number[]> => {
        calls++;
        throw sqlError('08006');
      },
      max: 10,
    });
    const results = await Promise.allSettled([1, 2, 3].map(call));
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(calls).toBe(1);
  });

  it('goes on after an error', async () => {
    let broken = true;
    const call = createBatch({
      run: async (items: number[]) => {
        if (broken) throw sqlError('08006');
        return items;
      },
      max: 10,
    });
    await expect(call(1)).rejects.toThrow('08006');
    broken = false;
    expect(await call(2)).toBe(2);
  });
});

describe('a batch with a limit', () => {
  it('turns away what does not fit, and what waited so long that its caller has given up', async () => {
    let finish = () => {};
    const done: number[][] = [];
    const submit = createBatch<number, number>({
      run: async (items) => {
        done.push(items);
        await new Promise<void>((resolve) => {
          finish = resolve;
        });
        return items;
      },
      max: 1,
      limit: { items: 2, ms: 40 },
    });
    const first = submit(1);
    await new Promise(setImmediate);
    const waiting = [submit(2), submit(3)];
    await expect(submit(4)).rejects.toThrow(Overloaded);
    await expect(Promise.all(waiting)).rejects.toThrow('it waited too long');
    finish();
    expect(await first).toBe(1);
    expect(done).toEqual([[1]]);
  });
});

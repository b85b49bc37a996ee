import { describe, expect, it } from 'vitest';
import { createEmbedBatch, MAX_CHARACTERS, MAX_TEXTS } from '../../src/clients/embeddings/batches.ts';
import { packFloats, shortFloat, unpackFloats } from '../../src/clients/embeddings/floats.ts';
import { share, shareUsage } from '../../src/clients/embeddings/share.ts';
import { TaskError } from '../../src/errors.ts';

const never = { signal: new AbortController().signal };

/** A host that answers when the test says so. */
function scripted(parallel = 1) {
  const calls: Array<{ texts: string[]; signal: AbortSignal; answer: () => void; fail: (error: unknown) => void }> = [];
  const embed = createEmbedBatch<string>({
    parallel,
    ask: (texts, { signal }) =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        calls.push({ texts, signal, answer: () => resolve(texts.map((text) => `<${text}>`)), fail: reject });
      }),
  });
  return { calls, embed };
}
const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

describe('texts that are embedded together', () => {
  it('go in the next call while one is under way, and each caller gets its own', async () => {
    const { calls, embed } = scripted();
    const first = [embed(['a'], never), embed(['b', 'c'], never)];
    await turn();
    const second = [embed(['d'], never), embed(['e'], never)];
    expect(calls.map(({ texts }) => texts)).toEqual([['a', 'b', 'c']]);
    calls[0]?.answer();
    expect(await Promise.all(first)).toEqual([['<a>'], ['<b>', '<c>']]);
    await turn();
    expect(calls[1]?.texts).toEqual(['d', 'e']);
    calls[1]?.answer();
    expect(await Promise.all(second)).toEqual([['<d>'], ['<e>']]);
    const third = embed(['f'], never);
    await turn();
    calls[2]?.answer();
    expect(await third).toEqual(['<f>']);
  });

  it('are so many and so long at most; one caller with very many lets others in between', async () => {
    const { calls, embed } = scripted();
    const many = embed(
      Array.from({ length: MAX_TEXTS + 10 }, (_, n) => `${n}`),
      never,
    );
    await turn();
    const other = embed(['x'], never);
    const long = embed(['y'.repeat(MAX_CHARACTERS + 1)], never);
    expect(calls[0]?.texts).toHaveLength(MAX_TEXTS);
    calls[0]?.answer();
    await turn();
    expect(calls[1]?.texts).toEqual(['x']);
    calls[1]?.answer();
    await other;
    await turn();
    expect(calls[2]?.texts.map(({ length }) => length)).toEqual([MAX_CHARACTERS + 1]);
    calls[2]?.answer();
    await long;
    await turn();
    expect(calls[3]?.texts).toHaveLength(10);
    calls[3]?.answer();
    expect((await many).at(-1)).toBe(`<${MAX_TEXTS + 9}>`);
  });

  it('go in as many calls at once as there are hosts', async () => {
    const { calls, embed } = scripted(2);
    const both = [embed(['a'], never)];
    await turn();
    both.push(embed(['b'], never));
    await turn();
    expect(calls).toHaveLength(2);
    for (const call of calls) call.answer();
    await Promise.all(both);
  });

  it('are the errors of whoever has a bad one, and of nobody else', async () => {
    const { calls, embed } = scripted();
    const bad = new TaskError('context_exceeded', 'too long');
    const all = Promise.allSettled(['a', 'b', 'bad', 'd', 'e'].map((text) => embed([text], never)));
    for (let done = 0; done < calls.length || done === 0; done++) {
      await turn();
      const call = calls[done];
      if (call?.texts.includes('bad')) call.fail(bad);
      else call?.answer();
      await turn();
    }
    const results = await all;
    expect(results.map(({ status }) => status)).toEqual([
      ...['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    ]);
    expect(results[2]).toMatchObject({ reason: bad });
    // Halves of halves, not each alone.
    expect(calls.length).toBeLessThanOrEqual(7);
  });

  it.each([
    ['away', new TaskError('upstream_unavailable', 'gone', { retryable: true, outage: 'away' })],
    ['full', new TaskError('upstream_rate_limited', 'later', { later: true })],
    ['without the model', new TaskError('model_unavailable', 'none', { retryable: true })],
  ])('are not tried one by one where the host is %s', async (_, error) => {
    const { calls, embed } = scripted();
    const all = Promise.allSettled([embed(['a'], never), embed(['b'], never)]);
    await turn();
    calls[0]?.fail(error);
    expect((await all).map((one) => one.status === 'rejected' && one.reason)).toEqual([error, error]);
    expect(calls).toHaveLength(1);
  });

  it('go on when one caller leaves, and stop when all have left', async () => {
    const { calls, embed } = scripted();
    const [one, other, late] = [new AbortController(), new AbortController(), new AbortController()];
    const leaving = Promise.allSettled([embed(['a'], one), embed(['b'], other)]);
    await turn();
    const waiting = Promise.allSettled([embed(['c'], late)]);
    one.abort(new Error('cancelled'));
    expect(calls[0]?.signal.aborted).toBe(false);
    late.abort(new Error('too late'));
    other.abort(new Error('cancelled too'));
    expect(calls[0]?.signal.aborted).toBe(true);
    expect((await leaving).map((end) => end.status === 'rejected' && end.reason.message)).toEqual([
      ...['cancelled', 'cancelled too'],
    ]);
    expect((await waiting)[0]).toMatchObject({ reason: { message: 'too late' } });
    await turn();
    // Whoever left before its turn is not asked for.
    expect(calls).toHaveLength(1);
    const after = embed(['d'], never);
    await turn();
    calls[1]?.answer();
    expect(await after).toEqual(['<d>']);
    await expect(embed(['e'], one)).rejects.toThrow('cancelled');
  });
});

describe('what was used together', () => {
  it('is shared by the lengths of the texts, in whole numbers that add up', () => {
    expect(share(10, [1, 1, 1])).toEqual([4, 3, 3]);
    expect(share(7, [10, 0, 30])).toEqual([2, 0, 5]);
    expect(share(0, [1, 2])).toEqual([0, 0]);
    expect(share(5, [0, 0])).toEqual([5, 0]);
    const usage = { input_tokens: 9, output_tokens: 0, load_ms: 100, run_ms: 31 };
    expect(shareUsage(usage, ['aa', 'a'])).toEqual([
      { input_tokens: 6, output_tokens: 0, load_ms: 67, run_ms: 21 },
      { input_tokens: 3, output_tokens: 0, load_ms: 33, run_ms: 10 },
    ]);
  });
});

describe('numbers of a vector', () => {
  it('are the shortest that stand for a float of 32 bits, and the same after they were kept', () => {
    for (const [given, short] of [
      [0.1, 0.1],
      [Math.fround(0.1), 0.1],
      [Math.fround(-0.0123456), -0.0123456],
      [1, 1],
      [0, 0],
      [1e-20, 1e-20],
      [16777217, 16777216],
    ] as const)
      expect(shortFloat(given)).toBe(short);
    const vector = Array.from({ length: 2_000 }, (_, n) => shortFloat(Math.sin(n) * 10 ** ((n % 9) - 6)));
    expect(unpackFloats(packFloats(vector))).toEqual(vector);
    for (const number of vector) expect(shortFloat(number)).toBe(number);
    expect(Math.max(...vector.map((number) => Math.fround(number).toString().length))).toBeGreaterThan(15);
    expect(Math.max(...vector.map((number) => number.toPrecision().replace(/e.*/, '').length))).toBeLessThan(17);
  });
});

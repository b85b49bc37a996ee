import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Breaker, createBreaker, createBreakers } from '../../src/clients/breaker.ts';
import { TaskError } from '../../src/errors.ts';

const away = () => new TaskError('upstream_unavailable', 'cannot be reached', { later: true, outage: 'away' });
const failing = () => new TaskError('upstream_unavailable', 'failed', { retryable: true, outage: 'failing' });
const rejected = () => new TaskError('upstream_rejected', 'no');
const timing = { failures: 3, windowMs: 60_000, minOpenMs: 1_000, maxOpenMs: 15_000 };

let lines: string[];
let calls: number;
beforeEach(() => {
  lines = [];
  calls = 0;
  vi.useFakeTimers({ toFake: ['performance'] });
  vi.spyOn(Math, 'random').mockReturnValue(1);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const pass = (ms: number) => vi.advanceTimersByTime(ms);
const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line).msg) });
const breakerOf = (options: Partial<Parameters<typeof createBreaker>[0]> = {}) =>
  createBreaker({ name: 'Ollama', log, timing, ...options });

/** One call that ends like this; answers what the caller of the breaker got. */
async function call(breaker: Breaker, outcome?: Error): Promise<unknown> {
  return breaker
    .run(async () => {
      calls++;
      if (outcome) throw outcome;
      return 'answer';
    })
    .catch((error) => error);
}
async function fail(breaker: Breaker, times: number, error: () => Error = away): Promise<void> {
  for (let n = 0; n < times; n++) await call(breaker, error());
}

describe('a breaker', () => {
  it('opens after a few failures in a row, and then answers without a call', async () => {
    const breaker = breakerOf();
    await fail(breaker, 2);
    expect([breaker.state(), await call(breaker)]).toEqual(['closed', 'answer']);
    await fail(breaker, 3, failing);
    expect([breaker.state(), calls]).toEqual(['open', 6]);
    const turnedAway = await call(breaker);
    expect(turnedAway).toMatchObject({ code: 'upstream_unavailable', later: true, retryAfterMs: 1_000 });
    expect((turnedAway as TaskError).outage).toBeUndefined();
    expect(calls).toBe(6);
  });

  it('is not told by another breaker, which it holds, how its own dependency is', async () => {
    const host = breakerOf({ name: 'the host' });
    const model = breakerOf({ name: 'the model', trips: ({ outage }) => outage === 'failing' });
    const ask = (outcome?: Error) =>
      host
        .run(() =>
          call(model, outcome).then((answer) => {
            if (answer instanceof Error) throw answer;
          }),
        )
        .catch((error) => error);
    await fail(model, 3, failing);
    await fail(host, 2);
    expect(await ask()).toMatchObject({ code: 'upstream_unavailable', later: true });
    expect([model.state(), host.state(), calls]).toEqual(['open', 'closed', 5]);
    await fail(host, 1);
    expect(host.state()).toBe('open');
  });

  it('does not open by what says nothing of the dependency, nor by failures that lie far apart', async () => {
    const breaker = breakerOf();
    await fail(breaker, 9, rejected);
    await fail(breaker, 9, () => new Error('the attempt was stopped'));
    for (let n = 0; n < 9; n++) {
      await fail(breaker, 2);
      await fail(breaker, 1, rejected);
    }
    for (let n = 0; n < 9; n++) {
      await fail(breaker, 1);
      pass(61_000);
    }
    expect([breaker.state(), lines]).toEqual(['closed', []]);
    // An abort says nothing either way, so it does not end a row of failures.
    await fail(breaker, 2);
    await fail(breaker, 1, () => new Error('the attempt was stopped'));
    await fail(breaker, 1);
    expect(breaker.state()).toBe('open');
  });

  it('counts only what it is told to', async () => {
    const breaker = breakerOf({ trips: ({ outage }) => outage === 'failing' });
    await fail(breaker, 9, away);
    expect(breaker.state()).toBe('closed');
    await fail(breaker, 3, failing);
    expect(breaker.state()).toBe('open');
  });

  it('lets one call through when its time is up, and closes when that is answered', async () => {
    const breaker = breakerOf();
    await fail(breaker, 3);
    pass(1_000);
    expect(breaker.state()).toBe('half_open');
    const { promise, resolve } = Promise.withResolvers<string>();
    const probe = breaker.run(() => promise);
    expect(await call(breaker)).toMatchObject({ later: true, retryAfterMs: 1_100 });
    expect(calls).toBe(3);
    resolve('first');
    expect(await probe).toBe('first');
    expect([breaker.state(), await call(breaker)]).toEqual(['closed', 'answer']);
    expect(lines).toEqual(['Ollama keeps failing; what needs it waits', 'Ollama is back']);
  });

  it('stays open longer each time, up to its bound, and short again after a success', async () => {
    const breaker = breakerOf();
    await fail(breaker, 3);
    const waits: number[] = [];
    for (let n = 0; n < 6; n++) {
      const { retryAfterMs = 0 } = (await call(breaker)) as TaskError;
      waits.push(retryAfterMs);
      pass(retryAfterMs);
      await fail(breaker, 1);
    }
    // And callers are spread over a tenth of what the outage has lasted.
    expect(waits).toEqual([1_000, 2_100, 4_310, 8_741, 16_616, 18_277]);
    expect(calls).toBe(9);
    pass(15_000);
    expect(await call(breaker)).toBe('answer');
    await fail(breaker, 3);
    expect(await call(breaker)).toMatchObject({ retryAfterMs: 1_000 });
    expect(lines).toHaveLength(3);
  });

  it('waits at least half of the bound, so that processes do not ask all at once', async () => {
    vi.mocked(Math.random).mockReturnValue(0);
    const breaker = breakerOf();
    await fail(breaker, 3);
    expect(await call(breaker)).toMatchObject({ retryAfterMs: 500 });
  });

  it('stays half open when the probe was given up by its task, and closes when it was only refused', async () => {
    const breaker = breakerOf();
    await fail(breaker, 3);
    pass(1_000);
    await fail(breaker, 1, () => new Error('the attempt was stopped'));
    expect(breaker.state()).toBe('half_open');
    await fail(breaker, 1, rejected);
    expect(breaker.state()).toBe('closed');
  });

  it('is not opened anew by calls that began before it opened', async () => {
    const breaker = breakerOf();
    const { promise, reject } = Promise.withResolvers<never>();
    const stragglers = Array.from({ length: 5 }, () => breaker.run(() => promise).catch(() => {}));
    await fail(breaker, 3);
    reject(away());
    await Promise.all(stragglers);
    expect(await call(breaker)).toMatchObject({ retryAfterMs: 1_000 });
  });

  it('asks its own question once for all that come, where it has one', async () => {
    let asked = 0;
    let answer = Promise.withResolvers<string>();
    const breaker = breakerOf({
      probe: () => {
        asked++;
        return answer.promise;
      },
    });
    await fail(breaker, 3);
    pass(1_000);
    const first = [call(breaker), call(breaker), call(breaker)];
    answer.reject(new Error('still away'));
    for (const turnedAway of await Promise.all(first))
      expect(turnedAway).toMatchObject({ later: true, retryAfterMs: 2_100 });
    expect([asked, calls]).toEqual([1, 3]);

    answer = Promise.withResolvers<string>();
    pass(2_000);
    const second = [call(breaker), call(breaker)];
    answer.resolve('1.0');
    expect(await Promise.all(second)).toEqual(['answer', 'answer']);
    expect([asked, calls, breaker.state()]).toEqual([2, 5, 'closed']);
  });

  it('goes on waiting longer when only its question is answered', async () => {
    const breaker = breakerOf({ probe: async () => 'pong' });
    await fail(breaker, 3);
    pass(1_000);
    await fail(breaker, 3);
    expect(await call(breaker)).toMatchObject({ retryAfterMs: 2_100 });
    // However long it takes, nobody is sent away for much longer than five minutes.
    pass(86_400_000);
    await fail(breaker, 3);
    expect(await call(breaker)).toMatchObject({ retryAfterMs: 304_000 });
  });
});

describe('breakers by key', () => {
  it('are apart from each other, and of too many the closed ones go first', async () => {
    const made: string[] = [];
    const breakers = createBreakers((key) => {
      made.push(key);
      return breakerOf();
    }, 2);
    const bad = breakers.of('bad');
    await fail(bad, 3);
    expect(breakers.of('good').state()).toBe('closed');
    expect(breakers.of('bad')).toBe(bad);
    breakers.of('third');
    expect(breakers.of('bad')).toBe(bad);
    breakers.of('good');
    expect(made).toEqual(['bad', 'good', 'third', 'good']);
  });
});

import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Breaker, createBreaker } from '../../src/clients/breaker.ts';
import { TaskError } from '../../src/errors.ts';

const away = () => new TaskError('upstream_unavailable', 'cannot be reached', { later: true, outage: 'away' });
const failing = () => new TaskError('upstream_unavailable', 'failed', { retryable: true, outage: 'failing' });
const timing = { failures: 3, windowMs: 60_000, minOpenMs: 1_000, maxOpenMs: 15_000 };

let lines: string[];
beforeEach(() => {
  lines = [];
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

/** One call of a user, or of several (`null`), that ends like this; answers what the caller got. */
async function call(breaker: Breaker, outcome?: Error, by?: string | null): Promise<unknown> {
  const work = async () => {
    if (outcome) throw outcome;
    return 'answer';
  };
  return breaker.run(work, by).catch((error) => error);
}
async function fail(breaker: Breaker, times: number, error: () => Error = away, by?: string | null): Promise<void> {
  for (let n = 0; n < times; n++) await call(breaker, error(), by);
}

describe('a breaker of what many users call', () => {
  it('is not opened by one user, however often it fails for that one, but by what two of them meet', async () => {
    const breaker = breakerOf({ timing: { ...timing, failures: 4 } });
    await fail(breaker, 50, failing, 'eve');
    expect(await call(breaker, undefined, 'alice')).toBe('answer');
    await fail(breaker, 50, failing, 'eve');
    // A call of several says nothing, since each of them is asked again.
    await fail(breaker, 50, failing, null);
    // What happens to another one once may be by chance.
    await fail(breaker, 1, failing, 'alice');
    expect([breaker.state(), lines]).toEqual(['closed', []]);
    await fail(breaker, 1, failing, 'alice');
    expect([breaker.state(), lines]).toEqual(['open', ['Ollama keeps failing; what needs it waits']]);
  });

  it('is kept open by nobody for whom alone it fails', async () => {
    const breaker = breakerOf();
    await fail(breaker, 3);
    pass(1_000);
    await fail(breaker, 9, failing, 'eve');
    expect([breaker.state(), await call(breaker, undefined, 'alice')]).toEqual(['half_open', 'answer']);
    expect(breaker.state()).toBe('closed');

    await fail(breaker, 3);
    pass(1_000);
    await fail(breaker, 9, failing, 'eve');
    await fail(breaker, 1, failing, 'alice');
    expect(breaker.state()).toBe('open');
  });

  it('is opened by any user where nobody took the calls', async () => {
    const breaker = breakerOf();
    await fail(breaker, 3, away, 'alice');
    expect(breaker.state()).toBe('open');
  });

  it('asks its own question before it keeps others away for what one user met', async () => {
    const cut = () => new TaskError('upstream_unavailable', 'broke off', { retryable: true, outage: 'away' });
    let there = true;
    let asked = 0;
    const probe = async () => {
      asked++;
      if (!there) throw new Error('away');
    };
    const breaker = breakerOf({ probe });
    await fail(breaker, 50, cut, 'eve');
    expect([asked, await call(breaker, undefined, 'alice'), lines]).toEqual([16, 'answer', []]);
    there = false;
    const late = breaker.run(() => Promise.reject(cut()), 'eve').catch(() => {});
    await fail(breaker, 3, cut, 'eve');
    await late;
    expect(await call(breaker, undefined, 'alice')).toMatchObject({ later: true });
    expect([breaker.state(), lines]).toEqual(['open', ['Ollama keeps failing; what needs it waits']]);
  });
});

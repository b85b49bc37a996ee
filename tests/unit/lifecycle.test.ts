import pino from 'pino';
import { describe, expect, it, vi } from 'vitest';
import { Interrupted } from '../../src/errors.ts';
import { createStack, interruptible, repeat, Stopping, within } from '../../src/lifecycle.ts';
import { createLog } from '../../src/log.ts';

describe('the stack', () => {
  it('closes last in first out, each once, and all callers wait for the same closing', async () => {
    const stack = createStack(createLog('silent'));
    const closed: string[] = [];
    let letGo = () => {};
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    stack.defer('first', () => void closed.push('first'));
    stack.defer('second', async () => {
      await gate;
      closed.push('second');
    });
    const both = [stack.close(), stack.close()];
    letGo();
    await Promise.all(both);
    await stack.close();
    expect(closed).toEqual(['second', 'first']);
  });

  it('goes on after an error and says which part it was', async () => {
    const lines: string[] = [];
    const stack = createStack(pino({ level: 'error' }, { write: (line) => void lines.push(line) }));
    const closed: string[] = [];
    stack.defer('the floor', () => void closed.push('floor'));
    stack.defer('the wall', () => {
      throw new Error('stuck');
    });
    stack.defer('the roof', async () => {
      throw new Error('leaks');
    });
    await stack.close();
    expect(closed).toEqual(['floor']);
    expect(lines.map((line) => JSON.parse(line).part)).toEqual(['the roof', 'the wall']);
  });

  it('does not wait for ever for one part, and names it', async () => {
    const lines: string[] = [];
    const stack = createStack(pino({ level: 'error' }, { write: (line) => void lines.push(line) }));
    const closed: string[] = [];
    stack.defer('the floor', () => void closed.push('floor'));
    stack.defer('the door', () => new Promise(() => {}), 20);
    await stack.close();
    expect(closed).toEqual(['floor']);
    expect(lines.map((line) => JSON.parse(line).part)).toEqual(['the door']);
  });

  it('closes at once what comes while it closes, and stops who brings it', async () => {
    const stack = createStack(createLog('silent'));
    const closed: string[] = [];
    stack.defer('first', () => void closed.push('first'));
    const closing = stack.close();
    expect(() => stack.defer('late', () => void closed.push('late'))).toThrow(Stopping);
    await closing;
    await stack.close();
    expect(closed).toEqual(['first', 'late']);
  });
});

describe('within', () => {
  it('answers what the promise answers, and rejects with its error', async () => {
    await expect(within(Promise.resolve(1), 1_000, 'it')).resolves.toBe(1);
    await expect(within(Promise.reject(new Error('no')), 1_000, 'it')).rejects.toThrow('no');
  });

  it('gives up on what takes longer and names it; a later failure of that is not unheard', async () => {
    let fail = (_: Error) => {};
    const slow = new Promise<never>((_, reject) => {
      fail = reject;
    });
    await expect(within(slow, 10, 'the slow part')).rejects.toThrow('the slow part did not answer within 10 ms');
    fail(new Error('late'));
    await new Promise(setImmediate);
  });
});

describe('what a signal may break off', () => {
  it('hears of the first one, and a second one ends the process', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => {});
    const exit = vi.spyOn(process, 'exit').mockImplementation(() => undefined as never);
    const before = process.listeners('SIGINT');
    const working = interruptible('It was broken off.', async (signal) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      throw new Error('what happens then');
    });
    const [interrupt] = process.listeners('SIGINT').filter((one) => !before.includes(one));
    interrupt?.('SIGINT');
    expect([said.mock.calls.length, exit.mock.calls.length]).toEqual([1, 0]);
    interrupt?.('SIGINT');
    expect(exit).toHaveBeenCalledWith(130);
    await expect(working).rejects.toThrow(new Interrupted('It was broken off.'));
    expect(process.listeners('SIGINT')).toEqual(before);
    vi.restoreAllMocks();
  });

  it('says itself how far it came, and what fails without a signal fails as it does', async () => {
    const knows = interruptible('It was broken off.', async () => {
      throw new Interrupted('Half of it is there.');
    });
    await expect(knows).rejects.toThrow('Half of it is there.');
    const fails = interruptible('It was broken off.', async () => {
      throw new Error('full');
    });
    await expect(fails).rejects.toThrow('full');
  });
});

describe('repeat', () => {
  it('calls again after a failure, reports it, and stops for good after the call that is under way', async () => {
    const errors: unknown[] = [];
    let calls = 0;
    let underWay = false;
    let third = () => {};
    const reached = new Promise<void>((resolve) => {
      third = resolve;
    });
    const stop = repeat(
      1,
      async () => {
        calls++;
        if (calls === 1) throw new Error('once');
        underWay = true;
        if (calls === 3) third();
        await new Promise((resolve) => setTimeout(resolve, 5));
        underWay = false;
      },
      (error) => errors.push(error),
    );
    await reached;
    await stop();
    expect(underWay).toBe(false);
    expect(calls).toBe(3);
    expect(errors).toEqual([new Error('once')]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(calls).toBe(3);
  });
});
